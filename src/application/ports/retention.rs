//! Old sales, and what is left of them.

use std::time::Duration;

use async_trait::async_trait;

use super::system::PortError;
use crate::domain::ids::SaleId;
use crate::domain::sale::SaleWindow;

/// A sale that ended long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredSale {
    /// Its number.
    pub sale: SaleId,
    /// Its name.
    pub name: String,
    /// When it was open.
    pub window: SaleWindow,
    /// Why it has to be kept all the same, if it has to.
    pub kept: Option<KeptBecause>,
}

/// Why an expired sale is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptBecause {
    /// It is not closed yet: its report is missing.
    ReportMissing,
    /// A sink or an endpoint has not got all of its events yet.
    EventsUndelivered,
}

impl KeptBecause {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReportMissing => "its report is not made yet",
            Self::EventsUndelivered => "its events are not delivered yet",
        }
    }
}

/// Sales of one partition, by the first of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// The first number.
    pub first: i64,
    /// The last number.
    pub last: i64,
}

/// Archives sales, and drops what they leave.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Retention: Send + Sync {
    /// Sales that ended at least this long ago, by the database's clock, those that ended first; a bounded number.
    async fn expired(&self, keep: Duration) -> Result<Vec<ExpiredSale>, PortError>;

    /// Archives those of these sales that are still expired and need not be kept, each with its row in the audit. Returns them.
    ///
    /// All or nothing. MUST NOT archive a sale that may still be sold, closed or delivered, under any concurrency. From its return on,
    /// every instance reads these sales as archived as soon as it reads PostgreSQL.
    async fn archive(
        &self,
        keep: Duration,
        sales: &[SaleId],
        actor: &str,
    ) -> Result<Vec<SaleId>, PortError>;

    /// Partitions whose sales are all archived and whose tables are not all dropped: those that this call finds, and those that an
    /// earlier run has left. No sale is created in them from its return on.
    async fn empty_partitions(&self) -> Result<Vec<Partition>, PortError>;

    /// Drops the tables of such a partition that are not in use. `false` if some are left for another call.
    ///
    /// MUST NOT keep other transactions waiting for longer than a moment. May be abandoned at any time.
    async fn drop_partition(&self, partition: Partition) -> Result<bool, PortError>;
}
