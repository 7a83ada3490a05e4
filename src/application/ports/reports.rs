//! Reports of sales.

use std::time::Duration;

use async_trait::async_trait;

use super::system::PortError;
use crate::domain::ids::SaleId;
use crate::domain::sale_report::SaleReport;

/// Reads reports.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait SaleReportReader: Send + Sync {
    /// The final report of a closed sale as it was stored; of any other sale what there is so far, as of one moment. `None` if there is
    /// no such sale.
    async fn report(&self, sale: SaleId) -> Result<Option<SaleReport>, PortError>;
}

/// A sale that has ended and is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedSale {
    /// The sale.
    pub sale: SaleId,
    /// How long ago the sale was first seen to have ended.
    pub waits: Duration,
    /// Whether nothing of the sale can still be committed.
    pub is_settled: bool,
}

/// Closes sales: writes the final report and the event of the end.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait SaleReportStore: Send + Sync {
    /// Sales that ended at least this long ago, by the database's clock, and are not closed; a bounded number, those that ended first.
    ///
    /// MUST NOT call a sale settled while a transaction runs that may still sell from it.
    async fn ended(&self, at_least: Duration) -> Result<Vec<EndedSale>, PortError>;

    /// Writes the report of a settled sale and its event in one transaction. `false` if the sale is closed, or no longer settled.
    ///
    /// MUST write both once for each end that a sale has had, under any concurrency and from any instance. The report MUST contain
    /// everything that the sale has sold.
    async fn close(&self, sale: SaleId) -> Result<bool, PortError>;
}
