//! Selling: checkouts and purchases, which are durable before the service answers.

use std::sync::Arc;

use async_trait::async_trait;

use super::idempotency::{Done, Keyed, KeyedRequest};
use super::system::PortError;
use crate::domain::checkout::{BuyerPieces, BuyerTotals, Change, Line};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::terms::{CheckoutTag, Declined, PurchaseTerms};

/// A change of a buyer's open checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// The sale.
    pub sale: SaleId,
    /// The buyer.
    pub buyer: BuyerId,
    /// The checkout to change; if `None`, the open one or a new one.
    pub attempt: Option<AttemptId>,
    /// The change.
    pub edit: Edit,
    /// The checkout has one of these tags, or nothing is changed; `None`: any.
    pub tags: Option<Vec<CheckoutTag>>,
}

/// A change of a checkout's lines, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets the quantities of these items; no item appears twice.
    Set(Vec<Line>),
    /// Removes this item, if it is in the checkout.
    Remove(ItemNo),
}

impl Edit {
    /// The lines that are set; none for a removal.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        match self {
            Self::Set(lines) => lines,
            Self::Remove(_) => &[],
        }
    }
}

/// The result of a [`Collect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collected {
    /// The checkout has been changed as requested, durably.
    Added {
        /// The open attempt.
        attempt: AttemptId,
        /// Whether this call created the checkout, or the line if it named a checkout.
        created: bool,
        /// The buyer's totals afterwards.
        totals: BuyerTotals,
        /// The effect on the lines.
        change: Change,
        /// Commit version, in microseconds of the database's clock: a later commit for the same buyer has a larger one.
        version: i64,
    },
    /// These items have no piece left.
    SoldOut(StockFacts),
    /// Collected and bought pieces, which are these without the change, would exceed the buyer's limit.
    OverLimit(BuyerPieces),
    /// The sale has not started, by the database's clock.
    NotStarted,
    /// The sale has ended, by the database's clock.
    Ended,
    /// The named checkout is no longer open.
    Closed,
    /// The named checkout has none of the tags.
    OtherTag,
}

/// The stock as a committed transaction read or changed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockFacts {
    /// The sale's generation to which the facts belong.
    pub generation: i64,
    /// Items with no piece left.
    pub sold_out: Vec<ItemNo>,
    /// Total pieces sold of each touched item.
    pub sold: Vec<(ItemNo, i32)>,
}

/// Keeps buyers' open checkouts.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait CheckoutStore: Send + Sync {
    /// Changes the buyer's open checkout; opens one if there is none and none is named.
    ///
    /// Durable before it returns. MUST NOT add to a purchased attempt, under any concurrency. MUST NOT let collected plus
    /// bought pieces exceed the sale's limit. MUST decide the window by the database's clock. MUST leave the checkout
    /// unchanged unless it returns `Added`. MUST check the tags against the lines that it would change. A repeat of the same call MUST change nothing.
    async fn collect(&self, request: Collect) -> Result<Collected, PortError>;

    /// Collects like [`Self::collect`], once for each key. MUST store the key in the transaction of the change, and MUST NOT
    /// store the key of a refused request.
    async fn collect_keyed(
        &self,
        request: Collect,
        key: KeyedRequest,
    ) -> Result<Keyed<Collected, Done>, PortError>;

    /// A checkout, open or not, with its lines in the order in which they were collected.
    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError>;
}

/// A checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCheckout {
    /// Its buyer.
    pub buyer: BuyerId,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Whether it has been purchased, with any outcome.
    pub purchased: bool,
}

/// The result of a [`Settle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// This call decided it.
    Now(Decision),
    /// It was decided before, with this outcome.
    Before(Arc<Outcome>),
    /// The sale has no such attempt.
    Unknown,
    /// The sale ended before the attempt was purchased.
    Ended,
    /// The sale has not started: its window was moved after the checkout.
    NotStarted,
    /// The checkout is empty. This is not stored: items may still be collected.
    Empty,
    /// The terms are not met. This is not stored, and nothing is sold.
    Declined(Declined),
    /// The checkout is not that of the buyer on whose behalf it was to be settled. This is not stored, and nothing is sold.
    OtherBuyer,
}

/// The purchase of a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// The sale.
    pub sale: SaleId,
    /// The checkout.
    pub attempt: AttemptId,
    /// The buyer whose checkout it must be; `None`: anyone's.
    pub buyer: Option<BuyerId>,
    /// What must hold, if the client wants anything to.
    pub terms: Option<Arc<PurchaseTerms>>,
}

impl Settle {
    /// Whether it may settle a checkout of this buyer.
    #[must_use]
    pub fn is_for(&self, owner: &BuyerId) -> bool {
        self.buyer.as_ref().is_none_or(|buyer| buyer == owner)
    }
}

/// A committed decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The outcome.
    pub outcome: Arc<Outcome>,
    /// The stock after it.
    pub facts: StockFacts,
    /// Commit version, in microseconds of the database's clock: a later commit for the same buyer has a larger one.
    pub version: i64,
    /// Pieces that the buyer has bought in this sale, including this purchase.
    pub bought: i32,
}

/// Decides purchases and stores the outcomes.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Settles a checkout.
    ///
    /// Atomic and durable before it returns. MUST NOT exceed an item's stock or a buyer's limit, under any concurrency and
    /// from any instance. MUST sell every line that can be sold whole. MUST return the first outcome to a repeated call,
    /// also after the sale. MUST NOT sell outside the window, by the database's clock. The first outcome MUST contain every
    /// item that a checkout acknowledged before it. MUST check the terms against the lines that it would settle, and return
    /// the outcome of a settled checkout whatever the terms are. MUST NOT settle the checkout of another buyer, nor return its outcome.
    async fn settle(&self, request: Settle) -> Result<Settled, PortError>;

    /// Settles like [`Self::settle`], once for each key. MUST store the key in the transaction of the decision, and MUST NOT
    /// store a key where this call decides nothing.
    async fn settle_keyed(
        &self,
        request: Settle,
        key: KeyedRequest,
    ) -> Result<Keyed<Settled, Done>, PortError>;

    /// The stored outcome of an attempt, if there is one.
    async fn outcome(&self, sale: SaleId, attempt: AttemptId)
    -> Result<Option<Outcome>, PortError>;
}
