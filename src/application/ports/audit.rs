//! The audit of the promises.

use std::time::Duration;

use async_trait::async_trait;

use super::system::PortError;
use crate::domain::ids::{BuyerId, SaleId};

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The promise that it belongs to, or `bookkeeping`.
    pub promise: &'static str,
    /// The invariant, in a few words.
    pub check: &'static str,
    /// Number of checked entries.
    pub counted: i64,
    /// Number of entries that violate the invariant.
    pub broken: i64,
    /// The first violations, as text.
    pub examples: Vec<String>,
}

/// A buyer's pieces in the hint cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CachedTotals {
    /// The buyer.
    pub buyer: BuyerId,
    /// Version of the commit from which they come.
    pub version: i64,
    /// Pieces bought and in the open checkout.
    pub pieces: i64,
}

/// Reads the hint cache for the audit.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait HintReader: Send + Sync {
    /// The cached totals of all buyers of a sale.
    async fn cached_totals(&self, sale: SaleId) -> Result<Vec<CachedTotals>, PortError>;
}

/// Reads committed totals, with which the audit compares the hint cache.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait BuyerTotalsReader: Send + Sync {
    /// Pieces bought and in the open checkout of each of these buyers, in their order; 0 for an unknown buyer.
    async fn committed_pieces(
        &self,
        sale: SaleId,
        buyers: &[BuyerId],
    ) -> Result<Vec<i64>, PortError>;
}

/// Sleeps.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Pause: Send + Sync {
    /// Returns after this time.
    async fn pause(&self, time: Duration);
}

/// Checks the invariants in PostgreSQL.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Inspector: Send + Sync {
    /// Checks every invariant, of one sale or of all sales, in one snapshot.
    async fn inspect(&self, sale: Option<SaleId>) -> Result<Vec<Finding>, PortError>;
}
