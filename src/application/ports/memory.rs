//! Memory that instances share, and may lose: nothing here decides.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::sales::StockSnapshot;
use super::selling::StockFacts;
use super::system::PortError;
use crate::domain::checkout::{Line, Standing};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::domain::sale::Sale;

/// A checkout at the door.
#[derive(Debug, Clone)]
pub struct Knock {
    /// The sale.
    pub sale: Arc<Sale>,
    /// The buyer.
    pub buyer: BuyerId,
    /// Item and quantity.
    pub line: Line,
}

/// What the shared memory believes of a checkout. Never a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// Nothing speaks against it.
    Fine,
    /// The sold-out filter holds the item: sold out, or one of its false positives.
    ItemInFilter,
    /// Collected and bought pieces would pass the limit, as of the commit with this version.
    OverLimit {
        /// The version of the standing that says so.
        version: i64,
    },
    /// All pieces of the sale are sold.
    SaleSoldOut,
    /// It has no memory of the sale.
    Cold,
}

/// Shared, disposable memory over all instances: totals for the limits, and the filter of sold-out items.
///
/// Everything here is absolute and versioned, so a repeated or late call changes nothing; everything expires; nothing
/// here may decide. When it is away, callers go on without it.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait SharedMemory: Send + Sync {
    /// What is believed of a checkout, without changing anything.
    async fn believes(&self, knock: Knock) -> Result<Belief, PortError>;

    /// Remembers a buyer's standing, soon. MUST ignore it when a later version is known; may forget it under load.
    fn remember_standing(&self, known: KnownStanding);

    /// Remembers what was sold and puts sold-out items into the filter, soon. MUST ignore smaller totals of the same
    /// generation; may forget them under load.
    fn remember_stock(&self, sale: &Arc<Sale>, facts: StockFacts);
}

/// A buyer's standing as of a commit.
#[derive(Debug, Clone)]
pub struct KnownStanding {
    /// The sale.
    pub sale: Arc<Sale>,
    /// The buyer.
    pub buyer: BuyerId,
    /// The standing.
    pub standing: Standing,
    /// The commit's version.
    pub version: i64,
}

/// Rebuilds the shared memory of sold-out items from facts.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait FilterBuilder: Send + Sync {
    /// Announces a rebuild: from now on what is added goes to the old and the new filter.
    async fn begin(&self, sale: &Sale) -> Result<Totals, PortError>;

    /// Puts a filter made of this stock, and of what was added since [`Self::begin`], in the old one's place.
    async fn publish(
        &self,
        sale: &Sale,
        stock: &StockSnapshot,
        totals: Totals,
    ) -> Result<(), PortError>;
}

/// Whether the shared memory has the totals of a sale's items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Totals {
    /// It has them all.
    Known,
    /// It must be told all of them.
    Missing,
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The attempt's sale.
    pub sale: SaleId,
    /// The attempt that is locked.
    pub attempt: AttemptId,
    /// Who holds it; only this owner can release it.
    pub owner: String,
}

/// Keeps repeats of one code away from the database while the first is running. Nothing correct rests on it.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait CodeLock: Send + Sync {
    /// Takes the lock, waiting a bounded time for its holder; `None` if it is still held then.
    ///
    /// MUST expire by itself, so that a holder that died locks nobody out.
    async fn acquire(&self, sale: SaleId, attempt: AttemptId) -> Result<Option<Lease>, PortError>;

    /// Gives it back, soon. MUST NOT release a lock that somebody else holds by now.
    fn release(&self, lease: Lease);
}

/// Chooses one instance for a chore. Two leaders at a time are possible; chores must bear that.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Leadership: Send + Sync {
    /// Whether this instance leads in `chore` until `term` is over. The leader's own call renews the term.
    async fn lead(&self, chore: &'static str, term: Duration) -> Result<bool, PortError>;
}

/// Tells the other instances what sold out.
#[cfg_attr(test, mockall::automock)]
pub trait News: Send + Sync {
    /// Tells it once, soon; whoever does not listen misses it.
    fn tell(&self, sale: SaleId, facts: &StockFacts);
}
