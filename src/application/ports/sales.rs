//! Sales, their items and start times, and buyers' purchases.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};

use super::lists::{Cursor, CursorPage, Page, PageRequest};
use super::selling::StockFacts;
use super::system::PortError;
use crate::application::catalogue::{Catalogue, Item};
use crate::domain::ids::{AttemptId, BuyerId, ItemId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{NewSale, Progress, Sale, SaleState};

/// Stores sales.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait SaleStore: Send + Sync {
    /// Creates a sale with all its items and the record of its creator, all or nothing.
    ///
    /// `None` if a scheduled sale with this start exists. MUST create at most one sale per start of the schedule, under
    /// any concurrency.
    async fn create(&self, sale: &NewSale, actor: &str) -> Result<Option<Sale>, PortError>;

    /// A sale by its number.
    async fn find(&self, sale: SaleId) -> Result<Option<Sale>, PortError>;

    /// Whether a sale that existed has been archived: it is not found any more.
    async fn is_archived(&self, sale: SaleId) -> Result<bool, PortError>;

    /// Those of these sales that exist, in any order.
    async fn find_all(&self, sales: &[SaleId]) -> Result<Vec<Sale>, PortError>;

    /// Sales that are open or start soon, up to a bound, earliest start first; also measures the database's clock.
    async fn live(&self) -> Result<Vec<Sale>, PortError>;

    /// Sales by start, newest first.
    async fn list(
        &self,
        wanted: SaleFilter,
        after: Cursor<SaleKey>,
    ) -> Result<CursorPage<Sale, SaleKey>, PortError>;
}

/// A filter of sales; all by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaleFilter {
    /// Only those in this state, by the database's clock.
    pub state: Option<SaleState>,
    /// Only those that start at this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// The position of a sale in the list of sales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SaleKey {
    /// Its start.
    pub starts_at: DateTime<Utc>,
    /// Its number.
    pub sale: SaleId,
}

impl SaleKey {
    /// The position of this sale.
    #[must_use]
    pub fn of(sale: &Sale) -> Self {
        Self { starts_at: sale.window.starts_at(), sale: sale.id }
    }
}

/// An item with its stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockedItem {
    /// The item.
    pub item: Item,
    /// Pieces in total.
    pub stock: i32,
    /// Pieces left.
    pub remaining: i32,
}

/// Reads the items of sales.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait ItemReader: Send + Sync {
    /// All items of a sale.
    async fn catalogue(&self, sale: SaleId) -> Result<Catalogue, PortError>;

    /// The items with these ids, in any order, without unknown ids.
    async fn by_id(&self, sale: SaleId, items: &[ItemId]) -> Result<Vec<Item>, PortError>;

    /// The items with these numbers, in any order, without unknown numbers.
    async fn by_number(&self, sale: SaleId, items: &[ItemNo]) -> Result<Vec<Item>, PortError>;

    /// The items of a page by number, with their stock; only those with a piece left if `available`.
    async fn page(
        &self,
        sale: SaleId,
        available: bool,
        page: PageRequest,
    ) -> Result<Vec<StockedItem>, PortError>;

    /// Items by number, with their stock; only those with a piece left if `available`. MUST read a bounded number of
    /// items, so a page of a nearly sold-out sale may have fewer entries than requested.
    async fn list(
        &self,
        sale: SaleId,
        available: bool,
        after: Cursor<ItemNo>,
    ) -> Result<CursorPage<StockedItem, ItemNo>, PortError>;

    /// Pieces sold and left in each of these sales, in any order.
    async fn progress(&self, sales: &[SaleId]) -> Result<Vec<(SaleId, Progress)>, PortError>;

    /// Which of these items have no piece left. Items that the sale does not have are left out.
    async fn sold_out_among(&self, sale: SaleId, items: &[ItemNo])
    -> Result<StockFacts, PortError>;

    /// The sold-out items of a sale, in one snapshot.
    async fn stock(&self, sale: SaleId) -> Result<StockSnapshot, PortError>;
}

/// The stock of a whole sale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockSnapshot {
    /// Sold-out items, and how many pieces of each were sold.
    pub facts: StockFacts,
    /// Pieces of the sale in total, sold or not.
    pub pieces: i64,
}

/// A purchase in a buyer's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastPurchase {
    /// The sale.
    pub sale: SaleId,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its outcome.
    pub outcome: Outcome,
}

/// Reads buyers' purchases.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait PurchaseHistory: Send + Sync {
    /// A page of a buyer's purchases, newest first, optionally of one sale.
    async fn of_buyer(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        page: PageRequest,
    ) -> Result<Page<PastPurchase>, PortError>;

    /// A buyer's purchases, newest first, optionally of one sale.
    async fn list(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: Cursor<PurchaseKey>,
    ) -> Result<CursorPage<PastPurchase, PurchaseKey>, PortError>;
}

/// The position of a purchase in its buyer's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PurchaseKey {
    /// When it was decided.
    pub purchased_at: DateTime<Utc>,
    /// The attempt.
    pub attempt: AttemptId,
}

impl PurchaseKey {
    /// The position of this purchase.
    #[must_use]
    pub fn of(past: &PastPurchase) -> Self {
        Self { purchased_at: past.outcome.purchased_at, attempt: past.attempt }
    }
}

/// Computes the starts of scheduled sales.
#[cfg_attr(test, mockall::automock)]
pub trait Calendar: Send + Sync {
    /// The last start at or before `moment`.
    fn last_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// The first start after `moment`.
    fn next_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// The local time of a moment in the schedule's time zone.
    fn local_time(&self, moment: DateTime<Utc>) -> NaiveDateTime;

    /// The local time with its zone, for people: `2026-07-01 09:15:30 CEST`.
    fn shown(&self, moment: DateTime<Utc>) -> String;
}

/// The local times of moments by other rules than the schedule's own.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait LocalTimes: Send + Sync {
    /// The local time of each moment in the schedule's time zone; `None` if these rules do not know the zone.
    async fn local_times(
        &self,
        moments: &[DateTime<Utc>],
    ) -> Result<Option<Vec<NaiveDateTime>>, PortError>;
}
