//! The audit: looking for broken promises.

use std::time::Duration;

use async_trait::async_trait;

use super::system::PortError;
use crate::domain::ids::{BuyerId, SaleId};

/// One invariant, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The promise it belongs to, or `bookkeeping`.
    pub promise: &'static str,
    /// What must hold, in a few words.
    pub check: &'static str,
    /// How many things were counted.
    pub counted: i64,
    /// How many of them break it.
    pub broken: i64,
    /// The first of those that break it, for people.
    pub examples: Vec<String>,
}

/// What the shared memory counts against a buyer's limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// The buyer.
    pub buyer: BuyerId,
    /// Version of the commit that it comes from.
    pub version: i64,
    /// Pieces bought and in the open checkout.
    pub pieces: i64,
}

/// What the shared memory would refuse for, to be held against the facts.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait MemoryReader: Send + Sync {
    /// What it counts of every buyer of a sale that it remembers.
    async fn remembered(&self, sale: SaleId) -> Result<Vec<Remembered>, PortError>;
}

/// The facts that the shared memory is held against.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait StandingReader: Send + Sync {
    /// Pieces bought and in the open checkout, for each of these buyers, in their order; 0 for a buyer that the sale
    /// does not know.
    async fn counted(&self, sale: SaleId, buyers: &[BuyerId]) -> Result<Vec<i64>, PortError>;
}

/// Waits.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Pause: Send + Sync {
    /// Comes back after this time.
    async fn pause(&self, time: Duration);
}

/// Looks for broken promises.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Inspector: Send + Sync {
    /// Checks every invariant, of one sale or of all, as of one moment.
    async fn inspect(&self, sale: Option<SaleId>) -> Result<Vec<Finding>, PortError>;
}
