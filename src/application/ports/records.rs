//! Records of refused attempts, and business metrics.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::system::PortError;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, RequestId, SaleId};

/// The operation that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A checkout, or a change of one.
    Checkout,
    /// A purchase.
    Purchase,
}

impl Operation {
    /// The name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Purchase => "purchase",
        }
    }
}

/// Why a well-formed attempt at a known sale was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalReason {
    /// No piece of the item is left.
    ItemSoldOut,
    /// No piece of the sale is left.
    SaleSoldOut,
    /// The sale has no such item.
    ItemNotFound,
    /// The buyer's limit would be exceeded.
    BuyerLimit,
    /// The sale has not started.
    NotStarted,
    /// The sale has ended.
    Ended,
    /// The same code is being purchased.
    InProgress,
    /// The checkout has been purchased, so it cannot be changed.
    Closed,
    /// The checkout is empty.
    Empty,
    /// The checkout is not what the client wants to change or to buy.
    Changed,
    /// Not every item can be bought, and the client wants all or nothing.
    ItemsUnavailable,
    /// The service was unavailable or overloaded.
    Unavailable,
}

impl RefusalReason {
    /// All reasons.
    pub const ALL: [Self; 12] = [
        Self::ItemSoldOut,
        Self::SaleSoldOut,
        Self::ItemNotFound,
        Self::BuyerLimit,
        Self::NotStarted,
        Self::Ended,
        Self::InProgress,
        Self::Closed,
        Self::Empty,
        Self::Changed,
        Self::ItemsUnavailable,
        Self::Unavailable,
    ];

    /// The name in the database and in metrics.
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
            Self::Changed => "checkout_changed",
            Self::ItemsUnavailable => "items_unavailable",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A refused attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The sale.
    pub sale: SaleId,
    /// The operation.
    pub operation: Operation,
    /// The reason.
    pub reason: RefusalReason,
    /// The buyer, if the request named one.
    pub buyer: Option<BuyerId>,
    /// The item, if the request named one.
    pub item: Option<ItemId>,
    /// The attempt, if the request named one.
    pub attempt: Option<AttemptId>,
    /// Time of the refusal, by the estimated database clock.
    pub refused_at: DateTime<Utc>,
    /// The id of the request, where it is known.
    pub request: Option<RequestId>,
}

/// A request that was answered with a stored outcome in which not every line is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// The sale.
    pub sale: SaleId,
    /// The attempt with the outcome.
    pub attempt: AttemptId,
    /// The request.
    pub request: RequestId,
}

/// Knows the request that the running task handles.
#[cfg_attr(test, mockall::automock)]
pub trait CurrentRequest: Send + Sync {
    /// Its id; `None` outside of requests.
    fn id(&self) -> Option<RequestId>;
}

/// An exact count of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusalTotal {
    /// The sale.
    pub sale: SaleId,
    /// The operation.
    pub operation: Operation,
    /// The reason.
    pub reason: RefusalReason,
    /// Number of refusals.
    pub total: i64,
    /// Number of refusals with details.
    pub detailed: i64,
}

/// A batch of refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalFlush {
    /// Number of the flush within this instance's run: 1, 2, 3 …
    pub sequence: i64,
    /// Exact counts per sale, operation and reason, sorted.
    pub totals: Vec<RefusalTotal>,
    /// Details within the budget.
    pub details: Vec<Refusal>,
    /// Requests with stored outcomes, within the same budget.
    pub answered: Vec<AnsweredRequest>,
}

/// Stores refusals.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait RefusalStore: Send + Sync {
    /// Writes a flush, all or nothing. MUST NOT count a repeated flush twice.
    async fn append(&self, flush: &RefusalFlush) -> Result<(), PortError>;
}

/// The result of one look-up in the sold-out filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterResult {
    /// The filter does not contain the item.
    Miss,
    /// The filter contains the item, and it is sold out.
    Confirmed,
    /// The filter contains the item, but pieces are left.
    FalsePositive,
    /// There is no filter.
    Cold,
}

/// What came of an item that was announced as sold out; of an event of which no item can be read, one is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SoldOutHint {
    /// This instance knew it, or has no such item.
    Known,
    /// PostgreSQL confirmed it.
    Confirmed,
    /// PostgreSQL has pieces left.
    Refuted,
    /// The event is of another installation or history.
    Foreign,
    /// The event is not readable.
    Unreadable,
    /// Too many items waited for their confirmation.
    Dropped,
}

/// Business metrics. Labels are fixed names only, never user input.
#[cfg_attr(test, mockall::automock)]
pub trait BusinessMetrics: Send + Sync {
    /// A checkout was accepted (`None`) or refused.
    fn checkout(&self, refused: Option<RefusalReason>);

    /// A purchase was answered.
    fn purchase(&self, answer: PurchaseAnswer);

    /// Pieces were sold.
    fn sold(&self, pieces: i32);

    /// An attempt was refused.
    fn refused(&self, reason: RefusalReason);

    /// An item was looked up in the sold-out filter.
    fn filter(&self, result: FilterResult);

    /// Items were announced as sold out.
    fn sold_out_hints(&self, hint: SoldOutHint, items: usize);
}

/// The answer to a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PurchaseAnswer {
    /// At least one line was bought.
    Bought,
    /// No line was bought, because items were sold out.
    SoldOut,
    /// No line was bought, only because of the limit.
    BuyerLimit,
    /// The first outcome was returned again.
    Replayed,
    /// The code is forged, mistyped or unknown.
    UnknownCode,
    /// The checkout is that of another buyer.
    OtherBuyer,
    /// The sale has ended.
    Ended,
    /// The sale has not started.
    NotStarted,
    /// The same code is being purchased.
    InProgress,
    /// The checkout is empty.
    Empty,
    /// The checkout is not what the client wants to buy.
    Changed,
    /// Not every item can be bought, and the client wants all or nothing.
    ItemsUnavailable,
    /// The service was unavailable or overloaded.
    Unavailable,
}
