//! Verify: audit the promises in PostgreSQL, and the hints in Redis against PostgreSQL.
//!
//! Redis may count too many pieces: an instance that crashed after a commit did not update Redis. No request is refused
//! for it, because PostgreSQL confirms refusals, and the buyer's next commit, whose version is newer, corrects the count.
//! A count is broken if no commit can correct it, because its version lies in the future.

use std::sync::Arc;
use std::time::Duration;

use super::ports::{
    BuyerTotalsReader, CachedTotals, Causes, Clock, Finding, HintReader, Inspector, Pause,
    PortError, SaleStore,
};
use crate::domain::ids::SaleId;

/// The hint cache may lag behind PostgreSQL for this long; counts that are still too high afterwards are suspicious.
const MAX_LAG: Duration = Duration::from_secs(1);
const MAX_EXAMPLES: usize = 5;

/// The audit.
pub struct Verify {
    ports: VerifyPorts,
}

/// The ports of [`Verify`].
pub struct VerifyPorts {
    /// Checks PostgreSQL.
    pub inspector: Arc<dyn Inspector>,
    /// Lists the live sales, which are the ones with hints.
    pub sales: Arc<dyn SaleStore>,
    /// Reads the hint cache.
    pub hints: Arc<dyn HintReader>,
    /// Reads the committed totals.
    pub buyer_totals: Arc<dyn BuyerTotalsReader>,
    /// Distinguishes versions that lie in the future.
    pub clock: Arc<dyn Clock>,
    /// Waits until the hint cache has caught up.
    pub pause: Arc<dyn Pause>,
}

impl Verify {
    /// Creates the use case on these ports.
    #[must_use]
    pub fn new(ports: VerifyPorts) -> Self {
        Self { ports }
    }

    /// Audits one sale, or the whole history.
    pub async fn execute(&self, sale: Option<SaleId>) -> Result<Vec<Finding>, PortError> {
        let mut findings = self.ports.inspector.inspect(sale).await?;
        findings.push(self.check_hints(sale).await?);
        Ok(findings)
    }

    async fn check_hints(&self, only: Option<SaleId>) -> Result<Finding, PortError> {
        let mut finding = Finding {
            promise: "I7",
            check: "a count in redis that is too high is corrected by the next commit",
            counted: 0,
            broken: 0,
            examples: Vec::new(),
        };
        for sale in self.ports.sales.live().await? {
            if only.is_some_and(|only| only != sale.id) {
                continue;
            }
            let totals = match self.ports.hints.cached_totals(sale.id).await {
                Ok(totals) => totals,
                Err(error) => {
                    // An unavailable cache refuses no request, but the report must show that it was not checked.
                    finding.examples.push(format!("not checked: {}", Causes(&error)));
                    return Ok(finding);
                }
            };
            finding.counted += i64::try_from(totals.len()).unwrap_or(i64::MAX);
            let suspects = self.too_high(sale.id, totals).await?;
            if suspects.is_empty() {
                continue;
            }
            self.ports.pause.pause(MAX_LAG).await;
            let Ok(mut again) = self.ports.hints.cached_totals(sale.id).await else { continue };
            // Totals that have changed meanwhile are being corrected: the sale goes on during the audit.
            again.retain(|totals| suspects.contains(totals));
            let next_commit = self.next_version()?;
            let too_high = self.too_high(sale.id, again).await?.into_iter();
            for CachedTotals { buyer, .. } in too_high.filter(|one| one.version >= next_commit) {
                finding.broken += 1;
                if finding.examples.len() < MAX_EXAMPLES {
                    finding.examples.push(format!("sale {} buyer {}", sale.id, buyer.as_str()));
                }
            }
        }
        Ok(finding)
    }

    /// The minimum version of a commit that happens now.
    fn next_version(&self) -> Result<i64, PortError> {
        let reading = self.ports.clock.database().ok_or(PortError::Unavailable {
            what: "the database's clock",
            source: "it has not been measured yet".into(),
        })?;
        let error = i64::try_from(reading.error.as_micros()).unwrap_or(i64::MAX);
        Ok(reading.at.timestamp_micros().saturating_add(error))
    }

    /// The totals with more pieces than are committed.
    async fn too_high(
        &self,
        sale: SaleId,
        totals: Vec<CachedTotals>,
    ) -> Result<Vec<CachedTotals>, PortError> {
        let buyers: Vec<_> = totals.iter().map(|one| one.buyer.clone()).collect();
        let committed = self.ports.buyer_totals.committed_pieces(sale, &buyers).await?;
        let compared = totals.into_iter().zip(committed);
        Ok(compared.filter(|(one, pieces)| one.pieces > *pieces).map(|(one, _)| one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{
        MockBuyerTotalsReader, MockClock, MockHintReader, MockInspector, MockPause, MockSaleStore,
    };
    use crate::domain::ids::BuyerId;
    use crate::testing::builders::a_sale;

    const NOW: i64 = 1_000_000;

    /// A cache with seven pieces of a buyer as of `version`, of which `counted` are committed.
    fn ports(version: i64, counted: i64) -> VerifyPorts {
        let mut inspector = MockInspector::new();
        inspector.expect_inspect().returning(|_| Ok(Vec::new()));
        let mut sales = MockSaleStore::new();
        sales.expect_live().returning(|| Ok(vec![a_sale(1)]));
        let mut hints = MockHintReader::new();
        hints.expect_cached_totals().returning(move |_| {
            Ok(vec![CachedTotals { buyer: BuyerId::parse("ann").unwrap(), version, pieces: 7 }])
        });
        let mut buyer_totals = MockBuyerTotalsReader::new();
        buyer_totals
            .expect_committed_pieces()
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
            hints: Arc::new(hints),
            buyer_totals: Arc::new(buyer_totals),
            clock: Arc::new(clock),
            pause: Arc::new(pause),
        }
    }

    #[tokio::test]
    async fn a_failed_inspection_is_an_error() {
        let mut blind = MockInspector::new();
        blind.expect_inspect().returning(|_| Err(PortError::Overloaded("test")));
        let ports = VerifyPorts { inspector: Arc::new(blind), ..ports(0, 0) };

        assert!(Verify::new(ports).execute(None).await.is_err());
    }

    #[tokio::test]
    async fn a_count_that_no_commit_can_correct_is_broken() {
        let findings = Verify::new(ports(NOW + 1, 3)).execute(None).await.unwrap();

        assert_eq!((findings[0].counted, findings[0].broken), (1, 1));
    }

    #[tokio::test]
    async fn a_count_that_the_next_commit_corrects_is_not_broken() {
        let findings = Verify::new(ports(NOW - 1, 3)).execute(None).await.unwrap();

        assert_eq!(findings[0].broken, 0);
    }

    #[tokio::test]
    async fn a_count_that_is_not_too_high_is_not_broken() {
        let findings = Verify::new(ports(NOW + 1, 7)).execute(None).await.unwrap();

        assert_eq!(findings[0].broken, 0);
    }

    #[tokio::test]
    async fn an_unavailable_hint_cache_is_not_broken() {
        let mut away = MockHintReader::new();
        away.expect_cached_totals().returning(|_| Err(PortError::Overloaded("test")));
        let ports = VerifyPorts { hints: Arc::new(away), ..ports(0, 0) };

        let findings = Verify::new(ports).execute(None).await.unwrap();

        assert_eq!(findings[0].broken, 0);
    }
}
