//! Selling: checkouts and purchases, which are durable before they are answered.

use std::sync::Arc;

use async_trait::async_trait;

use super::idempotency::KeyUse;
use super::system::PortError;
use crate::domain::checkout::{Change, Line, Standing};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;

/// A change of a buyer's open checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// The sale.
    pub sale: SaleId,
    /// The buyer.
    pub buyer: BuyerId,
    /// The checkout that is meant; whichever is open, or a new one, if `None`.
    pub attempt: Option<AttemptId>,
    /// What is changed.
    pub edit: Edit,
    /// What keeps a repeat from changing it again.
    pub key: Option<KeyUse>,
}

/// What is changed of a checkout, all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// These items get these quantities; no item comes twice.
    Set(Vec<Line>),
    /// This item goes, if it is there.
    Remove(ItemNo),
}

impl Edit {
    /// The lines that are set.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        match self {
            Self::Set(lines) => lines,
            Self::Remove(_) => &[],
        }
    }
}

/// What became of a [`Collect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collected {
    /// The open checkout is as it was asked for now, durably.
    Added {
        /// The open attempt.
        attempt: AttemptId,
        /// Whether this call made what it asked for: the checkout, or the line where it named a checkout.
        created: bool,
        /// The buyer's standing after it.
        standing: Standing,
        /// What it did to the lines.
        change: Change,
        /// When, in microseconds of the database's clock: a later commit for the same buyer has a larger number.
        version: i64,
    },
    /// These items have no piece left.
    SoldOut(StockFacts),
    /// Collected and bought pieces would pass the buyer's limit.
    OverLimit,
    /// The sale has not started, by the database's clock.
    NotStarted,
    /// The sale has ended, by the database's clock.
    Ended,
    /// The checkout that was meant is not open any more.
    Closed,
    /// The key was used before: [`KeyBook::find`](super::KeyBook::find) tells for what.
    KeyUsed,
}

/// What a committed transaction saw or made of the stock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockFacts {
    /// The sale's generation that these facts belong to.
    pub generation: i64,
    /// Items without a piece left.
    pub sold_out: Vec<ItemNo>,
    /// Pieces sold in all, by item, of the items that were touched.
    pub sold: Vec<(ItemNo, i32)>,
}

/// Keeps buyers' open checkouts.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait CheckoutBook: Send + Sync {
    /// Changes the buyer's open checkout, opening one if there is none and none is named.
    ///
    /// Durable before it returns, and its key with it. MUST NOT add to an attempt that has been purchased, however the two race. MUST NOT let
    /// collected plus bought pieces pass the sale's limit. MUST decide the window by the database's clock. MUST leave
    /// the checkout as it was unless it answers `Added`. A repeat of the same call MUST change nothing,
    /// and MUST be told so where it has a key.
    async fn collect(&self, wanted: Collect) -> Result<Collected, PortError>;

    /// A checkout with its lines in the order in which they came, open or not.
    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError>;
}

/// A checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCheckout {
    /// Whose.
    pub buyer: BuyerId,
    /// What is in it.
    pub lines: Vec<Line>,
    /// Whether it has been purchased, whatever that came to.
    pub purchased: bool,
}

/// What became of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It was decided now, by this call.
    Now(Decision),
    /// It was decided before; this is what was decided then.
    Before(Arc<Outcome>),
    /// There is no such attempt in the sale.
    Unknown,
    /// The sale ended before the attempt was purchased.
    Ended,
    /// The sale has not started (its window was moved).
    NotStarted,
    /// There is nothing in the checkout. This is not stored: something may still be collected.
    Empty,
    /// The key was used before: [`KeyBook::find`](super::KeyBook::find) tells for what.
    KeyUsed,
}

/// A checkout that is to be purchased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// The sale.
    pub sale: SaleId,
    /// The checkout.
    pub attempt: AttemptId,
    /// What tells a repeat from another request.
    pub key: Option<KeyUse>,
}

/// A decision that was made and committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub outcome: Arc<Outcome>,
    /// What it made of the stock.
    pub facts: StockFacts,
    /// When, in microseconds of the database's clock: a later commit for the same buyer has a larger number.
    pub version: i64,
    /// Pieces that the buyer owns in this sale after it.
    pub bought: i32,
}

/// Decides purchases and remembers what it decided.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Settles a checkout.
    ///
    /// Atomic and durable before it returns, and its key with it where it is decided now. MUST NOT sell an item beyond its stock nor a buyer beyond the limit, under
    /// any concurrency and from any instance. MUST sell every line that could be sold whole. MUST answer a repeated
    /// call with the first outcome, also after the sale. MUST NOT sell outside the window, by the database's clock.
    /// Every item that a checkout acknowledged before the first outcome MUST be in that outcome.
    async fn settle(&self, wanted: Settle) -> Result<Settled, PortError>;

    /// The stored outcome of an attempt, if it has one.
    async fn outcome(&self, sale: SaleId, attempt: AttemptId)
    -> Result<Option<Outcome>, PortError>;
}
