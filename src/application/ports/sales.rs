//! Sales: what there is to sell, when, and what was bought.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::lists::{After, Page, PageRequest, Stretch};
use super::selling::StockFacts;
use super::system::PortError;
use crate::application::catalogue::{Catalogue, Item};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{NewSale, Progress, Sale, SaleState};

/// Keeps the sales.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait SaleBook: Send + Sync {
    /// Creates a sale with all its items, and the record of who did.
    ///
    /// All or nothing. `None`: the schedule has a sale with this start already. MUST create at most one sale for a start
    /// of the schedule, however many callers there are.
    async fn create(&self, sale: &NewSale, actor: &str) -> Result<Option<Sale>, PortError>;

    /// A sale by its number.
    async fn find(&self, sale: SaleId) -> Result<Option<Sale>, PortError>;

    /// Sales that are open or about to be, the earliest start first; also measures the database's clock.
    async fn live(&self) -> Result<Vec<Sale>, PortError>;

    /// Sales by start, newest first.
    async fn list(
        &self,
        wanted: SaleFilter,
        after: After<SaleKey>,
    ) -> Result<Stretch<Sale, SaleKey>, PortError>;
}

/// Which sales are wanted; all by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaleFilter {
    /// Only those in this state, by the database's clock.
    pub state: Option<SaleState>,
    /// Only those that start at this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// A sale's place among all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SaleKey {
    /// Its start.
    pub starts_at: DateTime<Utc>,
    /// Its number.
    pub sale: SaleId,
}

impl SaleKey {
    /// The place of this sale.
    #[must_use]
    pub fn of(sale: &Sale) -> Self {
        Self { starts_at: sale.window.starts_at(), sale: sale.id }
    }
}

/// An item with what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockedItem {
    /// The item.
    pub item: Item,
    /// Pieces it had.
    pub stock: i32,
    /// Pieces left.
    pub remaining: i32,
}

/// Reads what a sale sells.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait ItemReader: Send + Sync {
    /// All items of a sale.
    async fn catalogue(&self, sale: SaleId) -> Result<Catalogue, PortError>;

    /// The named items of a sale, in any order; numbers that it does not have are left out.
    async fn named(&self, sale: SaleId, items: &[ItemNo]) -> Result<Vec<Item>, PortError>;

    /// A page of items by number, with their stock; only those with a piece left if `available`.
    async fn page(
        &self,
        sale: SaleId,
        available: bool,
        page: PageRequest,
    ) -> Result<Page<StockedItem>, PortError>;

    /// Items by number, with their stock; only those with a piece left if `available`. MUST look at a bounded number of items,
    /// so that of a sale that is nearly sold out fewer may come than were wanted.
    async fn list(
        &self,
        sale: SaleId,
        available: bool,
        after: After<ItemNo>,
    ) -> Result<Stretch<StockedItem, ItemNo>, PortError>;

    /// Pieces sold and left in a sale.
    async fn progress(&self, sale: SaleId) -> Result<Progress, PortError>;

    /// What is sold out in a sale, as of one moment.
    async fn stock(&self, sale: SaleId) -> Result<StockSnapshot, PortError>;
}

/// The stock of a whole sale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockSnapshot {
    /// Items without a piece left, and how many pieces each of them sold.
    pub facts: StockFacts,
    /// Pieces that the sale had, sold or not.
    pub pieces: i64,
}

/// A purchase in a buyer's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastPurchase {
    /// The sale.
    pub sale: SaleId,
    /// The attempt.
    pub attempt: AttemptId,
    /// What it came to.
    pub outcome: Outcome,
}

/// Reads what buyers did.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait PurchaseHistory: Send + Sync {
    /// A page of a buyer's purchases, newest first; of one sale if given.
    async fn of_buyer(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        page: PageRequest,
    ) -> Result<Page<PastPurchase>, PortError>;

    /// A buyer's purchases, newest first; of one sale if given.
    async fn list(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: After<PurchaseKey>,
    ) -> Result<Stretch<PastPurchase, PurchaseKey>, PortError>;
}

/// A purchase's place in its buyer's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PurchaseKey {
    /// When it was decided.
    pub purchased_at: DateTime<Utc>,
    /// The attempt.
    pub attempt: AttemptId,
}

impl PurchaseKey {
    /// The place of this purchase.
    #[must_use]
    pub fn of(past: &PastPurchase) -> Self {
        Self { purchased_at: past.outcome.purchased_at, attempt: past.attempt }
    }
}

/// Says when scheduled sales start.
#[cfg_attr(test, mockall::automock)]
pub trait Calendar: Send + Sync {
    /// The last start at or before `moment`.
    fn last_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// The first start after `moment`.
    fn next_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>>;
}
