//! Records: refused attempts, and counts for dashboards.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::system::PortError;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, SaleId};

/// Which door a refused attempt came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `POST /checkout`.
    Checkout,
    /// `POST /purchase`.
    Purchase,
}

impl Operation {
    /// The word for the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Purchase => "purchase",
        }
    }
}

/// Why a well-formed attempt that names a known sale was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalReason {
    /// No piece of the item is left.
    ItemSoldOut,
    /// No piece of the sale is left.
    SaleSoldOut,
    /// The sale has no such item.
    ItemNotFound,
    /// The buyer's limit.
    BuyerLimit,
    /// Before the start.
    NotStarted,
    /// At or after the end.
    Ended,
    /// The same code is being purchased right now.
    InProgress,
    /// The checkout has been purchased: it cannot be changed any more.
    Closed,
    /// Nothing is in the checkout.
    Empty,
    /// The service could not take it on.
    Unavailable,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ItemSoldOut,
        Self::SaleSoldOut,
        Self::ItemNotFound,
        Self::BuyerLimit,
        Self::NotStarted,
        Self::Ended,
        Self::InProgress,
        Self::Closed,
        Self::Empty,
        Self::Unavailable,
    ];

    /// The word for the record and for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ItemSoldOut => "item_sold_out",
            Self::SaleSoldOut => "sale_sold_out",
            Self::ItemNotFound => "item_not_found",
            Self::BuyerLimit => "buyer_limit",
            Self::NotStarted => "sale_not_started",
            Self::Ended => "sale_ended",
            Self::InProgress => "purchase_in_progress",
            Self::Closed => "checkout_closed",
            Self::Empty => "checkout_empty",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A refused attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The sale.
    pub sale: SaleId,
    /// Which door.
    pub operation: Operation,
    /// Why.
    pub reason: RefusalReason,
    /// The buyer, where the request named one.
    pub buyer: Option<BuyerId>,
    /// The item, where the request named one.
    pub item: Option<ItemId>,
    /// The attempt, where the request named one.
    pub attempt: Option<AttemptId>,
    /// When, by the database's clock as known here.
    pub refused_at: DateTime<Utc>,
}

/// An exact count of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusalTotal {
    /// The sale.
    pub sale: SaleId,
    /// Which door.
    pub operation: Operation,
    /// Why.
    pub reason: RefusalReason,
    /// How many.
    pub total: i64,
    /// How many of them come with details.
    pub detailed: i64,
}

/// Refusals to be written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalFlush {
    /// Number of the flush within this instance's run: 1, 2, 3 …
    pub sequence: i64,
    /// Exact counts, one for each sale, door and reason, sorted.
    pub totals: Vec<RefusalTotal>,
    /// The details that were kept.
    pub details: Vec<Refusal>,
}

/// Keeps refusals.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait RefusalStore: Send + Sync {
    /// Writes a flush, all or nothing. MUST NOT count a flush twice when it is repeated.
    async fn append(&self, flush: &RefusalFlush) -> Result<(), PortError>;
}

/// Result of one look into the sold-out filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterResult {
    /// Not in it: go on.
    Miss,
    /// In it, and really sold out.
    Confirmed,
    /// In it, but there were pieces left.
    FalsePositive,
    /// There was no filter to ask.
    Cold,
}

/// What the business did, for dashboards. Fixed lists only: nothing a user typed becomes a label.
#[cfg_attr(test, mockall::automock)]
pub trait Meter: Send + Sync {
    /// A checkout was answered: accepted (`None`) or refused.
    fn checkout(&self, refused: Option<RefusalReason>);

    /// A purchase was answered.
    fn purchase(&self, answer: PurchaseAnswer);

    /// Pieces were sold.
    fn sold(&self, pieces: i32);

    /// An attempt was refused.
    fn refused(&self, reason: RefusalReason);

    /// The sold-out filter was asked.
    fn filter(&self, result: FilterResult);
}

/// How a purchase was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PurchaseAnswer {
    /// Something was bought.
    Bought,
    /// Nothing was left.
    SoldOut,
    /// Only the limit stood in the way.
    BuyerLimit,
    /// The first outcome was told again.
    Replayed,
    /// Forged, mistyped or unknown.
    UnknownCode,
    /// After the end.
    Ended,
    /// Before the start.
    NotStarted,
    /// The first of two was still running.
    InProgress,
    /// Nothing was in the checkout.
    Empty,
    /// The service could not take it on.
    Unavailable,
}
