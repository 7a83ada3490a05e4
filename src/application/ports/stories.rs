//! What is on record of buyers and of single attempts, for operators who are asked why.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::lists::{Cursor, CursorPage};
use super::system::PortError;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, Quantity, RequestId, SaleId};
use crate::domain::purchase::LineOutcome;

/// A line of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoughtLine {
    /// The item.
    pub item: ItemId,
    /// Its pieces.
    pub quantity: Quantity,
    /// What the purchase did with it.
    pub outcome: LineOutcome,
}

/// A refusal with details. Operation and reason are the names on record: a later release may know more of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalRecord {
    /// The sale.
    pub sale: SaleId,
    /// When.
    pub refused_at: DateTime<Utc>,
    /// `checkout` or `purchase`.
    pub operation: String,
    /// Such as `item_sold_out`.
    pub reason: String,
    /// The buyer, if the request named one.
    pub buyer: Option<BuyerId>,
    /// The item, if the request named one.
    pub item: Option<ItemId>,
    /// The attempt, if the request named one.
    pub attempt: Option<AttemptId>,
    /// The request, if it is on record.
    pub request: Option<RequestId>,
    /// Pieces of the item that are left now, if the sale has the item.
    pub left_now: Option<i32>,
}

/// What happened to a buyer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A checkout was begun.
    Began(AttemptId),
    /// An item was put into a checkout: the last time, with the pieces that it has there.
    Collected(AttemptId, ItemId, Quantity),
    /// A checkout was purchased, whatever was sold of it.
    Purchased(AttemptId, Vec<BoughtLine>),
    /// A request was refused.
    Refused(RefusalRecord),
    /// A line was taken back by an operator, who is named.
    Cancelled(AttemptId, ItemId, Quantity, String),
}

/// An entry of a buyer's story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryEntry {
    /// Its position.
    pub key: StoryKey,
    /// The sale.
    pub sale: SaleId,
    /// What happened.
    pub happened: Happened,
}

/// The position of an entry in a buyer's story: the time, then what happens in this order at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoryKey {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The kind, as the store numbers it.
    pub kind: i16,
    /// The sale.
    pub sale: i64,
    /// Tells entries of one kind and time apart.
    pub first: i64,
    /// Likewise.
    pub second: i64,
}

/// Which entries of a story.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoryFilter {
    /// Only those of this sale.
    pub sale: Option<SaleId>,
    /// Only refusals.
    pub refusals_only: bool,
}

/// A collected line, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLine {
    /// The item.
    pub item: ItemId,
    /// Its pieces.
    pub quantity: Quantity,
    /// When it was collected.
    pub collected_at: DateTime<Utc>,
    /// What the purchase did with it; `None` before the purchase.
    pub outcome: Option<LineOutcome>,
    /// When it was taken back.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Pieces of the item that are left now.
    pub left_now: i32,
}

/// Everything on record of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The sale.
    pub sale: SaleId,
    /// The attempt.
    pub attempt: AttemptId,
    /// The buyer.
    pub buyer: BuyerId,
    /// When it was begun.
    pub began_at: DateTime<Utc>,
    /// When it was purchased.
    pub purchased_at: Option<DateTime<Utc>>,
    /// Its lines, by item number.
    pub lines: Vec<AttemptLine>,
    /// Refusals of requests that named it, oldest first, up to a bound.
    pub refusals: Vec<RefusalRecord>,
}

/// What is on record of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestRecord {
    /// Refusals of it, oldest first, up to a bound: clients may choose ids, and use one twice.
    pub refusals: Vec<RefusalRecord>,
    /// The purchases whose outcome it was answered with.
    pub answered: Vec<(SaleId, AttemptId)>,
}

/// Reads what is on record.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait StoryReader: Send + Sync {
    /// A buyer's story, oldest entry first.
    async fn story(
        &self,
        buyer: &BuyerId,
        wanted: StoryFilter,
        after: Cursor<StoryKey>,
    ) -> Result<CursorPage<StoryEntry, StoryKey>, PortError>;

    /// An attempt. MUST cost the same however many attempts the sale has.
    async fn attempt(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<AttemptRecord>, PortError>;

    /// A request. MUST cost the same however many refusals are on record.
    async fn request(&self, request: &RequestId) -> Result<RequestRecord, PortError>;
}
