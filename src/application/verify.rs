//! Verify: look for broken promises, in PostgreSQL and in what Redis would refuse against it.

use std::sync::Arc;
use std::time::Duration;

use super::ports::{
    Finding, Inspector, MemoryReader, Pause, PortError, Remembered, SaleBook, StandingReader,
};
use crate::domain::ids::SaleId;

/// The shared memory may be behind the facts for this long; what is still wrong then would refuse somebody wrongly.
const HEAL_TIME: Duration = Duration::from_secs(1);
const MAX_EXAMPLES: usize = 5;

/// Looks.
pub struct Verify {
    ports: VerifyPorts,
}

/// Everything that [`Verify`] needs.
pub struct VerifyPorts {
    /// Looks at PostgreSQL.
    pub inspector: Arc<dyn Inspector>,
    /// Knows which sales have a shared memory.
    pub sales: Arc<dyn SaleBook>,
    /// Reads the shared memory.
    pub memory: Arc<dyn MemoryReader>,
    /// Reads the facts.
    pub standings: Arc<dyn StandingReader>,
    /// Waits for the memory to heal.
    pub pause: Arc<dyn Pause>,
}

impl Verify {
    /// Looks through these ports.
    #[must_use]
    pub fn new(ports: VerifyPorts) -> Self {
        Self { ports }
    }

    /// Looks at one sale, or at the whole history.
    pub async fn execute(&self, sale: Option<SaleId>) -> Result<Vec<Finding>, PortError> {
        let mut findings = self.ports.inspector.inspect(sale).await?;
        findings.push(self.memory_refuses_nobody(sale).await?);
        Ok(findings)
    }

    async fn memory_refuses_nobody(&self, only: Option<SaleId>) -> Result<Finding, PortError> {
        let mut finding = Finding {
            promise: "I7",
            check: "redis counts no more pieces of a buyer than postgresql",
            counted: 0,
            broken: 0,
            examples: Vec::new(),
        };
        for sale in self.ports.sales.live().await? {
            if only.is_some_and(|only| only != sale.id) {
                continue;
            }
            // A memory that is away refuses nobody.
            let Ok(remembered) = self.ports.memory.remembered(sale.id).await else {
                continue;
            };
            finding.counted += i64::try_from(remembered.len()).unwrap_or(i64::MAX);
            let suspects = self.too_many(sale.id, remembered).await?;
            if suspects.is_empty() {
                continue;
            }
            self.ports.pause.pause(HEAL_TIME).await;
            let Ok(mut again) = self.ports.memory.remembered(sale.id).await else { continue };
            // What has changed meanwhile is healing: a sale goes on while it is looked at.
            again.retain(|remembered| suspects.contains(remembered));
            for Remembered { buyer, .. } in self.too_many(sale.id, again).await? {
                finding.broken += 1;
                if finding.examples.len() < MAX_EXAMPLES {
                    finding.examples.push(format!("sale {} buyer {}", sale.id, buyer.as_str()));
                }
            }
        }
        Ok(finding)
    }

    /// Those of whom the memory counts more pieces than there are.
    async fn too_many(
        &self,
        sale: SaleId,
        remembered: Vec<Remembered>,
    ) -> Result<Vec<Remembered>, PortError> {
        let buyers: Vec<_> = remembered.iter().map(|one| one.buyer.clone()).collect();
        let counted = self.ports.standings.counted(sale, &buyers).await?;
        let compared = remembered.into_iter().zip(counted);
        Ok(compared.filter(|(one, counted)| one.pieces > *counted).map(|(one, _)| one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{
        MockInspector, MockMemoryReader, MockPause, MockSaleBook, MockStandingReader,
    };
    use crate::domain::ids::BuyerId;
    use crate::testing::builders::a_sale;

    fn ann(pieces: i64) -> Remembered {
        Remembered { buyer: BuyerId::parse("ann").unwrap(), version: 1, pieces }
    }

    fn ports(remembered: i64, counted: i64) -> VerifyPorts {
        let mut inspector = MockInspector::new();
        inspector.expect_inspect().returning(|_| Ok(Vec::new()));
        let mut sales = MockSaleBook::new();
        sales.expect_live().returning(|| Ok(vec![a_sale(1)]));
        let mut memory = MockMemoryReader::new();
        memory.expect_remembered().returning(move |_| Ok(vec![ann(remembered)]));
        let mut standings = MockStandingReader::new();
        standings
            .expect_counted()
            .returning(move |_, buyers| Ok(buyers.iter().map(|_| counted).collect()));
        let mut pause = MockPause::new();
        pause.expect_pause().returning(|_| ());
        VerifyPorts {
            inspector: Arc::new(inspector),
            sales: Arc::new(sales),
            memory: Arc::new(memory),
            standings: Arc::new(standings),
            pause: Arc::new(pause),
        }
    }

    #[tokio::test]
    async fn an_inspector_that_could_not_look_is_an_error_and_not_a_clean_bill() {
        let mut blind = MockInspector::new();
        blind.expect_inspect().returning(|_| Err(PortError::Overloaded("test")));
        let ports = VerifyPorts { inspector: Arc::new(blind), ..ports(0, 0) };

        assert!(Verify::new(ports).execute(None).await.is_err());
    }

    #[tokio::test]
    async fn a_memory_that_stays_ahead_of_the_facts_is_named() {
        let findings = Verify::new(ports(7, 3)).execute(None).await.unwrap();

        assert_eq!((findings[0].counted, findings[0].broken), (1, 1));
    }

    #[tokio::test]
    async fn a_memory_that_is_behind_refuses_nobody() {
        let findings = Verify::new(ports(3, 7)).execute(None).await.unwrap();

        assert_eq!(findings[0].broken, 0);
    }

    #[tokio::test]
    async fn a_memory_that_is_away_refuses_nobody() {
        let mut away = MockMemoryReader::new();
        away.expect_remembered().returning(|_| Err(PortError::Overloaded("test")));
        let ports = VerifyPorts { memory: Arc::new(away), ..ports(0, 0) };

        let findings = Verify::new(ports).execute(None).await.unwrap();

        assert_eq!(findings[0].broken, 0);
    }
}
