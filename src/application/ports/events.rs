//! Events: what they are read from, and where they are delivered to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::sales::PastPurchase;
use super::system::PortError;
use crate::application::catalogue::Item;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::Sale;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A sale has opened.
    SaleOpened,
    /// A sale has ended, and its figures are final.
    SaleEnded,
    /// The last piece of a sale was sold.
    SaleSoldOut,
    /// The last piece of an item was sold.
    ItemSoldOut,
    /// A checkout was purchased, with any outcome.
    PurchaseSettled,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::SaleOpened,
        Self::SaleEnded,
        Self::SaleSoldOut,
        Self::ItemSoldOut,
        Self::PurchaseSettled,
    ];

    /// The name that operators write, like `purchase.settled`.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        match self {
            Self::SaleOpened => "sale.opened",
            Self::SaleEnded => "sale.ended",
            Self::SaleSoldOut => "sale.sold_out",
            Self::ItemSoldOut => "item.sold_out",
            Self::PurchaseSettled => "purchase.settled",
        }
    }

    /// The CloudEvents type, like `flash_sale.purchase.settled.v1`.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Self::SaleOpened => "flash_sale.sale.opened.v1",
            Self::SaleEnded => "flash_sale.sale.ended.v1",
            Self::SaleSoldOut => "flash_sale.sale.sold_out.v1",
            Self::ItemSoldOut => "flash_sale.item.sold_out.v1",
            Self::PurchaseSettled => "flash_sale.purchase.settled.v1",
        }
    }

    /// The kind with this short name.
    #[must_use]
    pub fn parse(short: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.short_name() == short)
    }
}

/// An event as every sink delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same at every try, and in every sink.
    pub id: String,
    /// Its kind.
    pub kind: EventKind,
    /// Events with the same key are delivered in order: the buyer of a purchase, else the sale.
    pub order_key: String,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// The whole CloudEvent in JSON: what is sent, and signed.
    pub body: Arc<str>,
}

/// The events of one committed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// Counts events: the number of all events up to the last of this batch.
    pub position: i64,
    /// When the batch was written, just before its commit.
    pub written_at: DateTime<Utc>,
    /// In order.
    pub events: Vec<Event>,
}

/// The log of all events.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Whole batches after a position, in order: as few as have `at_least` events together, or all up to the end of the log.
    /// MUST NOT return a batch before one that a later call returns, under any order of commits.
    async fn read(&self, after: i64, at_least: usize) -> Result<Vec<Arc<EventBatch>>, PortError>;

    /// The position of the newest batch, 0 if there is none: where a new consumer begins.
    async fn end(&self) -> Result<i64, PortError>;

    /// The position after which everything was written at or after this time: where a replay begins.
    async fn position_at(&self, time: DateTime<Utc>) -> Result<i64, PortError>;
}

/// A row of the outbox, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// See [`EventBatch::position`].
    pub position: i64,
    /// Of the ids of its events.
    pub batch: Uuid,
    /// When it was written.
    pub written_at: DateTime<Utc>,
    /// The sale.
    pub sale: SaleId,
    /// What happened.
    pub content: OutboxContent,
}

/// What a row of the outbox tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxContent {
    /// Purchases of one batch, and the items that are sold out since then.
    Settled(Vec<AttemptId>, Vec<ItemNo>),
    /// The sale has opened.
    SaleOpened,
    /// The sale has sold out.
    SaleSoldOut,
    /// The sale has ended, with its report in JSON.
    SaleEnded(String),
}

/// The outbox, which transactions write their events to.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Puts what is committed in order. Several callers at a time do not wait for each other.
    async fn order(&self) -> Result<(), PortError>;

    /// Rows after a position, at most so many, in order.
    async fn read(&self, after: i64, at_most: usize) -> Result<Vec<OutboxRow>, PortError>;

    /// The last position.
    async fn end(&self) -> Result<i64, PortError>;

    /// The last position of which the row was written before this time.
    async fn position_at(&self, time: DateTime<Utc>) -> Result<i64, PortError>;

    /// Writes the events of sales that have opened within this time, each once.
    async fn announce_openings(&self, within: Duration) -> Result<(), PortError>;

    /// Deletes rows that are older, whatever has been delivered; returns how many.
    async fn prune(&self, keep: Duration) -> Result<u64, PortError>;
}

/// Reads what purchases came to, whoever their buyers are.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait OutcomeStore: Send + Sync {
    /// The outcomes of those of these attempts that have one, in any order.
    async fn outcomes(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<Vec<PastPurchase>, PortError>;
}

/// What an event tells.
#[derive(Debug)]
pub enum EventData {
    /// The sale that has opened.
    SaleOpened(Sale),
    /// The report of the sale that has ended, in JSON.
    SaleEnded(SaleId, String),
    /// The sale that is sold out.
    SaleSoldOut(SaleId),
    /// The item that is sold out.
    ItemSoldOut(SaleId, Item),
    /// The purchase of a code, with the names of its items.
    PurchaseSettled(CodeClaim, Outcome, Vec<Item>),
}

/// The head of an event.
#[derive(Debug, Clone)]
pub struct EventHead {
    /// See [`Event::id`].
    pub id: String,
    /// See [`Event::time`].
    pub time: DateTime<Utc>,
}

/// Writes events as text.
#[cfg_attr(test, mockall::automock)]
pub trait EventFormat: Send + Sync {
    /// The event in JSON.
    fn format(&self, head: EventHead, data: EventData) -> Event;
}

/// A place to which all events are delivered, one batch after the other.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Its name, in metrics and in the database.
    fn name(&self) -> &'static str;

    /// Delivers these events, in order. After an error, any of them may have been delivered.
    async fn deliver(&self, events: &[Event]) -> Result<(), PortError>;
}

/// How far sinks have delivered, and who delivers.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait SinkStore: Send + Sync {
    /// Makes a sink that is new; it begins at the end of the log.
    async fn register(&self, sink: &'static str) -> Result<(), PortError>;

    /// Takes the right to deliver for a time, or prolongs it: the position from which to deliver. `None` while another owner has
    /// it.
    async fn lease(
        &self,
        sink: &'static str,
        owner: Uuid,
        term: Duration,
    ) -> Result<Option<i64>, PortError>;

    /// Saves the position, and prolongs the right. `false` if the owner has lost it: then nothing is saved.
    async fn advance(
        &self,
        sink: &'static str,
        owner: Uuid,
        position: i64,
        term: Duration,
    ) -> Result<bool, PortError>;

    /// Gives the right back.
    async fn release(&self, sink: &'static str, owner: Uuid) -> Result<(), PortError>;

    /// The number of events that each sink has not delivered yet.
    async fn pending(&self) -> Result<Vec<(String, i64)>, PortError>;
}

/// Metrics of deliveries.
#[cfg_attr(test, mockall::automock)]
pub trait EventMetrics: Send + Sync {
    /// So many events wait for this sink.
    fn pending(&self, sink: &str, events: i64);

    /// Events were delivered this long after they were written.
    fn delivered(&self, sink: &str, after: Duration, events: usize);
}
