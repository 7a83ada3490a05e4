//! The report of a sale: read at any time, and stored for good when the sale is closed after its end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ports::{PortError, SaleReportReader, SaleReportStore};
use crate::domain::ids::SaleId;
use crate::domain::sale_report::SaleReport;

/// Transactions take seconds. One that a sale has waited for this long was left open.
const LONG_WAIT: Duration = Duration::from_mins(1);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is no such sale.
    #[error("there is no sale {0}")]
    UnknownSale(SaleId),
    /// The record could not be read.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Reads the report of a sale.
pub struct ReportSale {
    reports: Arc<dyn SaleReportReader>,
}

impl ReportSale {
    /// Creates the use case on this port.
    #[must_use]
    pub fn new(reports: Arc<dyn SaleReportReader>) -> Self {
        Self { reports }
    }

    /// The final report of a closed sale, or what there is so far.
    pub async fn execute(&self, sale: SaleId) -> Result<SaleReport, ReportError> {
        self.reports.report(sale).await?.ok_or(ReportError::UnknownSale(sale))
    }
}

/// Closes sales that have ended: stores the final report of each, and the event of its end, once.
pub struct CloseSale {
    reports: Arc<dyn SaleReportStore>,
    record_delay: Duration,
    /// Sales whose long wait has been logged.
    reported: Mutex<BTreeSet<SaleId>>,
}

impl CloseSale {
    /// Closes sales that ended at least `record_delay` ago: instances need that time to write the refusals that they have counted.
    #[must_use]
    pub fn new(reports: Arc<dyn SaleReportStore>, record_delay: Duration) -> Self {
        Self { reports, record_delay, reported: Mutex::default() }
    }

    /// Closes the sales of which nothing can still be committed, and returns them. May run at any time, on any number of instances at
    /// once, and may be abandoned at any time. A sale that cannot be closed keeps no other from being closed.
    pub async fn execute(&self) -> Result<Vec<SaleId>, PortError> {
        let ended = self.reports.ended(self.record_delay).await?;
        let (mut closed, mut failed) = (Vec::new(), None);
        let mut waiting = BTreeSet::new();
        for one in ended {
            if !one.is_settled {
                if one.waits >= LONG_WAIT {
                    waiting.insert(one.sale);
                }
                continue;
            }
            match self.reports.close(one.sale).await {
                Ok(true) => closed.push(one.sale),
                Ok(false) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.report_long_waits(waiting);
        failed.map_or(Ok(closed), Err)
    }

    /// Logs each sale that has begun to wait for long, once.
    fn report_long_waits(&self, waiting: BTreeSet<SaleId>) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for sale in waiting.difference(&reported) {
            tracing::warn!(
                %sale,
                "the report of an ended sale waits for a transaction that began before it: look for one in pg_stat_activity \
                 (backend_xid) and pg_prepared_xacts"
            );
        }
        *reported = waiting;
    }
}

#[cfg(test)]
mod tests {
    use mockall::predicate::eq;

    use super::*;
    use crate::application::ports::{EndedSale, MockSaleReportReader, MockSaleReportStore};
    use crate::testing::builders::{sale_id, unavailable};

    const DELAY: Duration = Duration::from_secs(3);

    fn ended(number: i64, is_settled: bool) -> EndedSale {
        EndedSale { sale: sale_id(number), waits: Duration::ZERO, is_settled }
    }

    fn store(sales: Vec<EndedSale>) -> MockSaleReportStore {
        let mut store = MockSaleReportStore::new();
        store.expect_ended().with(eq(DELAY)).returning(move |_| Ok(sales.clone()));
        store
    }

    #[tokio::test]
    async fn settled_sales_are_closed_and_the_others_wait() {
        let mut store = store(vec![ended(1, true), ended(2, false), ended(3, true)]);
        store.expect_close().with(eq(sale_id(1))).times(1).returning(|_| Ok(true));
        // Another instance was faster.
        store.expect_close().with(eq(sale_id(3))).times(1).returning(|_| Ok(false));

        let closed = CloseSale::new(Arc::new(store), DELAY).execute().await;

        assert_eq!(closed.unwrap(), [sale_id(1)]);
    }

    #[tokio::test]
    async fn a_sale_that_cannot_be_closed_keeps_no_other_from_it() {
        let mut store = store(vec![ended(1, true), ended(2, true)]);
        store.expect_close().with(eq(sale_id(1))).returning(|_| Err(unavailable()));
        store.expect_close().with(eq(sale_id(2))).times(1).returning(|_| Ok(true));

        assert!(CloseSale::new(Arc::new(store), DELAY).execute().await.is_err());
    }

    #[tokio::test]
    async fn an_unknown_sale_is_no_failure_of_the_port() {
        let mut reader = MockSaleReportReader::new();
        reader.expect_report().returning(|_| Ok(None));

        let report = ReportSale::new(Arc::new(reader)).execute(sale_id(7)).await;

        assert_eq!(report.unwrap_err().to_string(), "there is no sale S-7");
    }
}
