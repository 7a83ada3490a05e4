//! What the application needs of the world outside. Each port is named by the need; adapters live in `infrastructure`,
//! doubles and contract suites in `testing`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::catalogue::{Catalogue, Item};
use crate::domain::checkout::{Line, Standing};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId, ItemId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{ClockReading, NewSale, Progress, Sale};

/// A port could not do what it was asked. Expected answers are never errors.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Something behind the port is away or too slow. Asking again later is safe.
    #[error("{what} is unavailable")]
    Unavailable {
        /// What was asked for.
        what: &'static str,
        /// Why it did not answer.
        source: BoxError,
    },
    /// A bounded queue is full, or the request's time was up before it was begun: nothing was done.
    #[error("{0} is overloaded")]
    Overloaded(&'static str),
    /// Anything that should not happen.
    #[error("{what} failed")]
    Broken {
        /// What was asked for.
        what: &'static str,
        /// What happened.
        source: BoxError,
    },
}

/// The technology's own error, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One item for one buyer's checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// The sale.
    pub sale: SaleId,
    /// The buyer.
    pub buyer: BuyerId,
    /// Item and quantity.
    pub line: Line,
}

/// What became of a [`Collect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collected {
    /// The open checkout holds the line now, durably.
    Added {
        /// The open attempt.
        attempt: AttemptId,
        /// The buyer's standing after it.
        standing: Standing,
        /// When, in microseconds of the database's clock: a later commit for the same buyer has a larger number.
        version: i64,
    },
    /// The item has no piece left.
    SoldOut(StockFacts),
    /// Collected and bought pieces would pass the buyer's limit.
    OverLimit,
    /// The sale has not started, by the database's clock.
    NotStarted,
    /// The sale has ended, by the database's clock.
    Ended,
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
    /// Sets one line of the buyer's open checkout, opening one if there is none.
    ///
    /// Durable before it returns. MUST NOT add to an attempt that has been purchased, however the two race. MUST NOT let
    /// collected plus bought pieces pass the sale's limit. MUST decide the window by the database's clock. MUST leave
    /// the checkout as it was unless it answers `Added`. A repeat of the same call MUST change nothing.
    async fn collect(&self, wanted: Collect) -> Result<Collected, PortError>;
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
    /// Settles the checkout behind `attempt`.
    ///
    /// Atomic and durable before it returns. MUST NOT sell an item beyond its stock nor a buyer beyond the limit, under
    /// any concurrency and from any instance. MUST sell every line that could be sold whole. MUST answer a repeated
    /// call with the first outcome, also after the sale. MUST NOT sell outside the window, by the database's clock.
    /// Every item that a checkout acknowledged before the first outcome MUST be in that outcome.
    async fn settle(&self, sale: SaleId, attempt: AttemptId) -> Result<Settled, PortError>;

    /// The stored outcome of an attempt, if it has one.
    async fn outcome(&self, sale: SaleId, attempt: AttemptId)
    -> Result<Option<Outcome>, PortError>;
}

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

    /// What is sold and sold out in a sale, as of one moment.
    async fn stock(&self, sale: SaleId) -> Result<StockSnapshot, PortError>;
}

/// The stock of a whole sale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockSnapshot {
    /// Sold-out items, and pieces sold of every item that sold any.
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
    /// Collected and bought pieces would pass the limit.
    OverLimit,
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

/// The clocks: the database's, as measured from here, and one that only ever goes forward.
#[cfg_attr(test, mockall::automock)]
pub trait Clock: Send + Sync {
    /// What the database's clock says; `None` before it was measured.
    fn database(&self) -> Option<ClockReading>;

    /// Time since some fixed moment of this process.
    fn monotonic(&self) -> Duration;
}

/// Signs codes and tells forged ones.
#[cfg_attr(test, mockall::automock)]
pub trait CodeSigner: Send + Sync {
    /// A code that [`Self::is_genuine`] accepts while its key is configured.
    fn sign(&self, sale: SaleId, attempt: AttemptId) -> CodeClaim;

    /// Whether the code was signed by a key that is configured. MUST compare in constant time.
    fn is_genuine(&self, claim: &CodeClaim) -> bool;
}

/// Says when scheduled sales start.
#[cfg_attr(test, mockall::automock)]
pub trait Calendar: Send + Sync {
    /// The last start at or before `moment`.
    fn last_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// The first start after `moment`.
    fn next_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>>;
}

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
    /// The service could not take it on.
    Unavailable,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ItemSoldOut,
        Self::SaleSoldOut,
        Self::ItemNotFound,
        Self::BuyerLimit,
        Self::NotStarted,
        Self::Ended,
        Self::InProgress,
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
    /// The service could not take it on.
    Unavailable,
}

/// One invariant, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The promise it belongs to, or `bookkeeping`.
    pub promise: &'static str,
    /// What must hold, in a few words.
    pub check: &'static str,
    /// How many things were counted.
    pub counted: i64,
    /// How many of them break it.
    pub broken: i64,
    /// The first of those that break it, for people.
    pub examples: Vec<String>,
}

/// What the shared memory counts against a buyer's limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// The buyer.
    pub buyer: BuyerId,
    /// Version of the commit that it comes from.
    pub version: i64,
    /// Pieces bought and in the open checkout.
    pub pieces: i64,
}

/// What the shared memory would refuse for, to be held against the facts.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait MemoryReader: Send + Sync {
    /// What it counts of every buyer of a sale that it remembers.
    async fn remembered(&self, sale: SaleId) -> Result<Vec<Remembered>, PortError>;
}

/// The facts that the shared memory is held against.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait StandingReader: Send + Sync {
    /// Pieces bought and in the open checkout, for each of these buyers, in their order; 0 for a buyer that the sale
    /// does not know.
    async fn counted(&self, sale: SaleId, buyers: &[BuyerId]) -> Result<Vec<i64>, PortError>;
}

/// Waits.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Pause: Send + Sync {
    /// Comes back after this time.
    async fn pause(&self, time: Duration);
}

/// Looks for broken promises.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Inspector: Send + Sync {
    /// Checks every invariant, of one sale or of all, as of one moment.
    async fn inspect(&self, sale: Option<SaleId>) -> Result<Vec<Finding>, PortError>;
}

/// State of something that the service needs or likes to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Up,
    /// It is away, and the service goes on without it.
    Degraded(String),
    /// It is away, and the service cannot sell.
    Down(String),
}

/// A named health check.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Its name in `/healthz`.
    fn name(&self) -> &'static str;

    /// Looks.
    async fn check(&self) -> Health;
}
