//! Sales: what there is to sell, when, and what was bought.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::selling::StockFacts;
use super::system::PortError;
use crate::application::catalogue::{Catalogue, Item};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{NewSale, Progress, Sale};

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

    /// Sales by start, newest first, at most `limit`.
    async fn newest(&self, limit: u32) -> Result<Vec<Sale>, PortError>;
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

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// From 1.
    pub page: u32,
    /// Entries a page.
    pub limit: u32,
}

impl PageRequest {
    /// Entries before the page.
    #[must_use]
    pub fn offset(self) -> i64 {
        i64::from(self.page.saturating_sub(1)) * i64::from(self.limit)
    }
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Entries of the whole list.
    pub total: i64,
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
}

/// Says when scheduled sales start.
#[cfg_attr(test, mockall::automock)]
pub trait Calendar: Send + Sync {
    /// The last start at or before `moment`.
    fn last_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// The first start after `moment`.
    fn next_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>>;
}
