//! Drop sales: archive those that ended longer ago than they are to be kept, and drop the partitions that nothing is left in.
//!
//! It may be abandoned at every step: an archived sale stays archived, a partition that is dropped in part is finished by the next run.

use std::sync::Arc;
use std::time::Duration;

use super::ports::{ExpiredSale, Partition, Pause, PortError, Retention};
use crate::domain::ids::SaleId;

/// Sales that are archived in one transaction, which keeps others from creating and changing sales.
const AT_A_TIME: usize = 100;
/// How often a partition whose tables are in use is tried, and the pause in between: some seconds. A later run tries again.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// What a run has done, or would do.
#[derive(Debug, Default)]
pub struct DroppedSales {
    /// Sales that were archived, those that ended first.
    pub archived: Vec<ExpiredSale>,
    /// Sales that are old enough and have to be kept.
    pub kept: Vec<ExpiredSale>,
    /// Partitions that were dropped.
    pub dropped: Vec<Partition>,
    /// Partitions with tables that are in use: the next run drops them.
    pub in_use: Vec<Partition>,
}

/// Drops old sales.
pub struct DropSales {
    retention: Arc<dyn Retention>,
    pause: Arc<dyn Pause>,
    keep: Keep,
}

/// How long sales are kept at each moment; for ever, if `None`.
pub type Keep = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

impl DropSales {
    /// Creates the use case on these ports.
    #[must_use]
    pub fn new(retention: Arc<dyn Retention>, pause: Arc<dyn Pause>, keep: Keep) -> Self {
        Self { retention, pause, keep }
    }

    /// What [`Self::execute`] would archive and keep now.
    pub async fn preview(&self) -> Result<DroppedSales, PortError> {
        let Some(keep) = (self.keep)() else {
            return Ok(DroppedSales::default());
        };
        let (archived, kept) = self.expired(keep).await?;
        Ok(DroppedSales { archived, kept, ..DroppedSales::default() })
    }

    /// Archives and drops. May run at any time, on any number of instances at once.
    pub async fn execute(&self, actor: &str) -> Result<DroppedSales, PortError> {
        let mut done = DroppedSales::default();
        let Some(keep) = (self.keep)() else {
            return Ok(done);
        };
        loop {
            let (archivable, kept) = self.expired(keep).await?;
            done.kept = kept;
            let mut archived = Vec::new();
            for sales in archivable.chunks(AT_A_TIME) {
                let numbers: Vec<SaleId> = sales.iter().map(|expired| expired.sale).collect();
                let gone = self.retention.archive(keep, &numbers, actor).await?;
                archived.extend(sales.iter().filter(|one| gone.contains(&one.sale)).cloned());
            }
            // Another run may have been faster.
            if archived.is_empty() {
                break;
            }
            done.archived.append(&mut archived);
        }
        for partition in self.retention.empty_partitions().await? {
            if self.drop_partition(partition).await? {
                done.dropped.push(partition);
            } else {
                done.in_use.push(partition);
            }
        }
        Ok(done)
    }

    /// Expired sales: those that may go, and those that may not.
    async fn expired(
        &self,
        keep: Duration,
    ) -> Result<(Vec<ExpiredSale>, Vec<ExpiredSale>), PortError> {
        let expired = self.retention.expired(keep).await?;
        Ok(expired.into_iter().partition(|one| one.kept.is_none()))
    }

    async fn drop_partition(&self, partition: Partition) -> Result<bool, PortError> {
        for _ in 1..TRIES {
            if self.retention.drop_partition(partition).await? {
                return Ok(true);
            }
            self.pause.pause(PAUSE).await;
        }
        self.retention.drop_partition(partition).await
    }
}

#[cfg(test)]
mod tests {
    use mockall::predicate::{always, eq};

    use super::*;
    use crate::application::ports::{KeptBecause, MockRetention};
    use crate::domain::sale::SaleWindow;
    use crate::testing::builders::{at, sale_id, unavailable};
    use crate::testing::fakes::{FakeClock, FakePause};

    const KEEP: Duration = Duration::from_hours(24 * 90);
    const FIRST: Partition = Partition { first: 0, last: 99 };
    const SECOND: Partition = Partition { first: 100, last: 199 };

    fn expired(number: i64, kept: Option<KeptBecause>) -> ExpiredSale {
        let window = SaleWindow::new(at(0), at(3_600)).unwrap();
        ExpiredSale { sale: sale_id(number), name: "old".to_owned(), window, kept }
    }

    fn use_case(retention: MockRetention, keep: Option<Duration>) -> DropSales {
        let pause = Arc::new(FakePause(FakeClock::at(at(0))));
        DropSales::new(Arc::new(retention), pause, Arc::new(move || keep))
    }

    /// The sales that are expired at each call.
    fn retention(mut calls: Vec<Vec<ExpiredSale>>) -> MockRetention {
        let mut retention = MockRetention::new();
        calls.reverse();
        retention
            .expect_expired()
            .with(eq(KEEP))
            .returning(move |_| Ok(calls.pop().unwrap_or_default()));
        retention
    }

    #[tokio::test]
    async fn sales_are_kept_for_ever_by_default() {
        let done = use_case(MockRetention::new(), None).execute("ann").await.unwrap();

        assert!(done.archived.is_empty() && done.dropped.is_empty());
    }

    #[tokio::test]
    async fn old_sales_are_archived_but_those_that_are_still_needed() {
        let held = expired(2, Some(KeptBecause::ReportMissing));
        let mut retention = retention(vec![vec![expired(1, None), held.clone()], vec![held]]);
        retention
            .expect_archive()
            .withf(|_, sales, actor| *sales == [sale_id(1)] && actor == "ann")
            .times(1)
            .returning(|_, sales, _| Ok(sales.to_vec()));
        retention.expect_empty_partitions().returning(|| Ok(vec![]));

        let done = use_case(retention, Some(KEEP)).execute("ann").await.unwrap();

        assert_eq!(done.archived, [expired(1, None)]);
        assert_eq!(done.kept.len(), 1);
    }

    #[tokio::test]
    async fn many_sales_are_archived_in_steps() {
        let all: Vec<ExpiredSale> = (1..=250).map(|number| expired(number, None)).collect();
        let mut retention = retention(vec![all]);
        retention
            .expect_archive()
            .withf(|_, sales, _| sales.len() <= AT_A_TIME)
            .times(3)
            .returning(|_, sales, _| Ok(sales.to_vec()));
        retention.expect_empty_partitions().returning(|| Ok(vec![]));

        let done = use_case(retention, Some(KEEP)).execute("ann").await.unwrap();

        assert_eq!(done.archived.len(), 250);
    }

    #[tokio::test]
    async fn a_sale_that_another_run_archives_is_not_counted_and_ends_no_run() {
        let mut retention = retention(vec![vec![expired(1, None)]]);
        retention.expect_archive().times(1).returning(|_, _, _| Ok(vec![]));
        retention.expect_empty_partitions().returning(|| Ok(vec![]));

        let done = use_case(retention, Some(KEEP)).execute("ann").await.unwrap();

        assert!(done.archived.is_empty());
    }

    #[tokio::test]
    async fn a_partition_in_use_is_tried_again_and_then_left_to_the_next_run() {
        let mut retention = retention(vec![]);
        retention.expect_empty_partitions().returning(|| Ok(vec![FIRST, SECOND]));
        retention
            .expect_drop_partition()
            .with(eq(FIRST))
            .times(TRIES as usize)
            .returning(|_| Ok(false));
        retention.expect_drop_partition().with(eq(SECOND)).times(1).returning(|_| Ok(true));

        let done = use_case(retention, Some(KEEP)).execute("ann").await.unwrap();

        assert_eq!((done.dropped, done.in_use), (vec![SECOND], vec![FIRST]));
    }

    #[tokio::test]
    async fn nothing_is_dropped_when_archiving_fails() {
        let mut retention = retention(vec![vec![expired(1, None)]]);
        retention
            .expect_archive()
            .with(always(), always(), always())
            .returning(|_, _, _| Err(unavailable()));

        assert!(use_case(retention, Some(KEEP)).execute("ann").await.is_err());
    }

    #[tokio::test]
    async fn a_preview_changes_nothing() {
        let held = expired(2, Some(KeptBecause::EventsUndelivered));
        let retention = retention(vec![vec![expired(1, None), held]]);

        let preview = use_case(retention, Some(KEEP)).preview().await.unwrap();

        assert_eq!((preview.archived.len(), preview.kept.len()), (1, 1));
    }
}
