//! Verify: look for broken promises, in PostgreSQL and in what Redis would refuse against it.
//!
//! Redis may count too much: an instance that died told PostgreSQL of a purchase and not Redis. Nobody is refused for it,
//! because its refusals are confirmed in PostgreSQL, and the buyer's next commit, whose version is newer, sets it right.
//! What is broken is a count that no commit can set right, because its version lies in the future.

use std::sync::Arc;
use std::time::Duration;

use super::ports::{
    Clock, Finding, Inspector, MemoryReader, Pause, PortError, Remembered, SaleBook, StandingReader,
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
    /// Tells which versions lie in the future.
    pub clock: Arc<dyn Clock>,
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
            check: "what redis counts too much of a buyer gives way to the next commit",
            counted: 0,
            broken: 0,
            examples: Vec::new(),
        };
        for sale in self.ports.sales.live().await? {
            if only.is_some_and(|only| only != sale.id) {
                continue;
            }
            let remembered = match self.ports.memory.remembered(sale.id).await {
                Ok(remembered) => remembered,
                Err(error) => {
                    // A memory that is away refuses nobody; but whoever reads this should know that nobody looked.
                    finding.examples.push(format!("not looked at, so refuses nobody: {error}"));
                    return Ok(finding);
                }
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
            let next_commit = self.next_version()?;
            let too_many = self.too_many(sale.id, again).await?.into_iter();
            for Remembered { buyer, .. } in too_many.filter(|one| one.version >= next_commit) {
                finding.broken += 1;
                if finding.examples.len() < MAX_EXAMPLES {
                    finding.examples.push(format!("sale {} buyer {}", sale.id, buyer.as_str()));
                }
            }
        }
        Ok(finding)
    }

    /// The version that a commit would have now, at the least.
    fn next_version(&self) -> Result<i64, PortError> {
        let reading = self.ports.clock.database().ok_or(PortError::Unavailable {
            what: "the database's clock",
            source: "it was not measured yet".into(),
        })?;
        let error = i64::try_from(reading.error.as_micros()).unwrap_or(i64::MAX);
        Ok(reading.at.timestamp_micros().saturating_add(error))
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
        MockClock, MockInspector, MockMemoryReader, MockPause, MockSaleBook, MockStandingReader,
    };
    use crate::domain::ids::BuyerId;
    use crate::testing::builders::a_sale;

    const NOW: i64 = 1_000_000;

    /// A memory that counts seven pieces of a buyer, as of `version`, against `counted` in the facts.
    fn ports(version: i64, counted: i64) -> VerifyPorts {
        let mut inspector = MockInspector::new();
        inspector.expect_inspect().returning(|_| Ok(Vec::new()));
        let mut sales = MockSaleBook::new();
        sales.expect_live().returning(|| Ok(vec![a_sale(1)]));
        let mut memory = MockMemoryReader::new();
        memory.expect_remembered().returning(move |_| {
            Ok(vec![Remembered { buyer: BuyerId::parse("ann").unwrap(), version, pieces: 7 }])
        });
        let mut standings = MockStandingReader::new();
        standings
            .expect_counted()
            .returning(move |_, buyers| Ok(buyers.iter().map(|_| counted).collect()));
        let mut clock = MockClock::new();
        clock.expect_database().returning(|| {
            let at = chrono::DateTime::from_timestamp_micros(NOW).unwrap();
            Some(crate::domain::sale::ClockReading { at, error: Duration::ZERO })
        });
        let mut pause = MockPause::new();
        pause.expect_pause().returning(|_| ());
        VerifyPorts {
            inspector: Arc::new(inspector),
            sales: Arc::new(sales),
            memory: Arc::new(memory),
            standings: Arc::new(standings),
            clock: Arc::new(clock),
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
    async fn a_count_that_no_commit_can_set_right_is_named() {
        let findings = Verify::new(ports(NOW + 1, 3)).execute(None).await.unwrap();

        assert_eq!((findings[0].counted, findings[0].broken), (1, 1));
    }

    #[tokio::test]
    async fn a_count_that_the_next_commit_sets_right_refuses_nobody() {
        let findings = Verify::new(ports(NOW - 1, 3)).execute(None).await.unwrap();

        assert_eq!(findings[0].broken, 0);
    }

    #[tokio::test]
    async fn a_memory_that_is_behind_refuses_nobody() {
        let findings = Verify::new(ports(NOW + 1, 7)).execute(None).await.unwrap();

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
