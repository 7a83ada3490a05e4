//! State that instances share and may lose: caches, locks, leadership, events. None of it decides.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::sales::StockSnapshot;
use super::selling::StockFacts;
use super::system::PortError;
use crate::domain::checkout::{BuyerTotals, Line};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::sale::Sale;

/// A checkout to be checked against the hint cache.
#[derive(Debug, Clone)]
pub struct PrecheckRequest {
    /// The sale.
    pub sale: Arc<Sale>,
    /// The buyer.
    pub buyer: BuyerId,
    /// The item and its quantity.
    pub line: Line,
}

/// The hint cache's expectation for a checkout; PostgreSQL decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing is known against it.
    Clear,
    /// The sold-out filter contains the item: it is sold out, or a false positive.
    ItemInFilter,
    /// Collected and bought pieces would exceed the limit.
    OverLimit {
        /// The commit version of the totals.
        version: i64,
    },
    /// All pieces of the sale are sold.
    SaleSoldOut,
    /// The cache does not know the sale.
    Cold,
}

/// A disposable cache that all instances share: buyers' totals, and the filter of sold-out items.
///
/// All values are absolute and versioned, so a repeated or late call changes nothing. All values expire. No refusal may
/// rest on a hint alone. If the cache is unavailable, callers go on without it.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait HintCache: Send + Sync {
    /// The hint for a checkout, read-only.
    async fn precheck(&self, request: PrecheckRequest) -> Result<Hint, PortError>;

    /// Stores a buyer's totals, asynchronously. MUST ignore them if a later version is stored; may drop them under load.
    fn update_totals(&self, known: CommittedTotals);

    /// Stores sold pieces and adds sold-out items to the filter, asynchronously. MUST ignore smaller totals of the same
    /// generation; may drop them under load.
    fn update_stock(&self, sale: &Arc<Sale>, facts: StockFacts);
}

/// A buyer's totals as of a commit.
#[derive(Debug, Clone)]
pub struct CommittedTotals {
    /// The sale.
    pub sale: Arc<Sale>,
    /// The buyer.
    pub buyer: BuyerId,
    /// The totals.
    pub totals: BuyerTotals,
    /// The commit's version.
    pub version: i64,
}

/// Rebuilds the filter of sold-out items.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait FilterBuilder: Send + Sync {
    /// The stock that the filter in use was built from. `None` if there is no filter of the cache's current contents.
    async fn built_from(&self, sale: &Sale) -> Result<Option<BuiltFrom>, PortError>;

    /// Announces a rebuild: from now on, additions go to both the old and the new filter.
    async fn begin(&self, sale: &Sale) -> Result<ItemTotals, PortError>;

    /// Replaces the filter by one made of this stock and of the additions since [`Self::begin`].
    async fn publish(
        &self,
        sale: &Sale,
        stock: &StockSnapshot,
        totals: ItemTotals,
    ) -> Result<(), PortError>;
}

/// What tells one stock of a sale from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltFrom {
    /// The sale's generation.
    pub generation: i64,
    /// Number of sold-out items.
    pub sold_out: usize,
}

impl BuiltFrom {
    /// Of this stock.
    #[must_use]
    pub fn of(stock: &StockSnapshot) -> Self {
        Self { generation: stock.facts.generation, sold_out: stock.facts.sold_out.len() }
    }
}

/// Whether the hint cache has the sold pieces of a sale's items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemTotals {
    /// It has all of them.
    Known,
    /// It needs all of them.
    Missing,
}

/// A held lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The attempt's sale.
    pub sale: SaleId,
    /// The locked attempt.
    pub attempt: AttemptId,
    /// The holder; only this owner can release the lock.
    pub owner: String,
}

/// Keeps repeats of a code away from the database while the first purchase runs. Correctness does not depend on it.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait CodeLock: Send + Sync {
    /// Takes the lock on a code; `None` while another call holds it.
    ///
    /// MUST expire by itself, so that a crashed holder cannot block a code.
    async fn acquire(&self, sale: SaleId, attempt: AttemptId) -> Result<Option<Lease>, PortError>;

    /// Releases the lock, asynchronously. MUST NOT release a lock that another owner holds by now.
    fn release(&self, lease: Lease);
}

/// Elects one instance for a background task. Two leaders at a time are possible, and tasks must tolerate them.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Leadership: Send + Sync {
    /// Whether this instance leads `task` until the end of `term`. The leader's call renews the term.
    async fn lead(&self, task: &'static str, term: Duration) -> Result<bool, PortError>;
}

/// Publishes sold-out items to the other instances.
#[cfg_attr(test, mockall::automock)]
pub trait SoldOutEvents: Send + Sync {
    /// Publishes at most once, asynchronously; an instance that is not listening misses the event.
    fn publish(&self, sale: SaleId, sold_out: &[ItemNo]);
}

/// What an instance hears from the others. Anything that reaches the hint cache can send it, so it is a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoldOutEvent {
    /// An instance on the same history of the same database has seen these items sold out.
    Own {
        /// The sale.
        sale: SaleId,
        /// Its items, some of them perhaps twice.
        items: Vec<ItemNo>,
    },
    /// An operator has changed this sale, on the same history of the same database.
    Changed(SaleId),
    /// It is of another installation, or of a history that has ended.
    Foreign,
    /// It is none of these.
    Unreadable,
}
