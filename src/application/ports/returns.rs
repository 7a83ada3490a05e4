//! Purchases that operators take back, and how instances learn that pieces are on sale again.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::system::PortError;
use crate::domain::cancellation::{CancelRefusal, Cancellation, Wanted};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};

/// Takes lines of purchases back.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait PurchaseCanceller: Send + Sync {
    /// Takes lines of the purchase of a genuine code back.
    ///
    /// In one transaction the pieces return to the stock, the buyer's limit is given back, the sale gets a greater generation, and
    /// the event and the row of the audit are written. MUST take a line back once, under any concurrency. MUST leave the stored
    /// outcome as it is. MUST change nothing unless it returns a [`Cancellation`].
    async fn cancel(
        &self,
        code: CodeClaim,
        wanted: &Wanted,
        actor: &str,
    ) -> Result<Result<Cancellation, CancelRefusal>, PortError>;
}

/// A line that was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenBack {
    /// The attempt that bought it.
    pub attempt: AttemptId,
    /// The item.
    pub item: ItemNo,
    /// When.
    pub at: DateTime<Utc>,
}

/// Reads which lines were taken back.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait CancellationReader: Send + Sync {
    /// The lines of these purchases that were taken back, in any order.
    async fn taken_back(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<Vec<TakenBack>, PortError>;
}

/// Tells all instances that a sale has a new generation.
///
/// It is a hint: an instance that gets it reads the sale from PostgreSQL at once, and one that misses it does so at its next poll.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait SaleNotifications: Send + Sync {
    /// Announces the change of a sale, which is committed. An error means that instances may only learn of it at their next poll.
    async fn changed(&self, sale: SaleId) -> Result<(), PortError>;
}
