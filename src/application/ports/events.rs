//! Events: what happened in a sale, for the systems behind the shop. What they are read from, and where they are delivered to.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::sales::PastPurchase;
use super::system::PortError;
use crate::application::catalogue::Item;
use crate::domain::checkout::Line;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::Sale;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A sale has opened.
    SaleOpened,
    /// A sale has ended.
    SaleEnded,
    /// The last piece of a sale was sold.
    SaleSoldOut,
    /// The last piece of an item was sold.
    ItemSoldOut,
    /// A purchase has its outcome.
    PurchaseSettled,
    /// Lines of a purchase were taken back.
    PurchaseCancelled,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SaleOpened,
        Self::SaleEnded,
        Self::SaleSoldOut,
        Self::ItemSoldOut,
        Self::PurchaseSettled,
        Self::PurchaseCancelled,
    ];

    /// `purchase.settled`, as operators write it.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        match self {
            Self::SaleOpened => "sale.opened",
            Self::SaleEnded => "sale.ended",
            Self::SaleSoldOut => "sale.sold_out",
            Self::ItemSoldOut => "item.sold_out",
            Self::PurchaseSettled => "purchase.settled",
            Self::PurchaseCancelled => "purchase.cancelled",
        }
    }

    /// `flash_sale.purchase.settled.v1`, the type of the CloudEvent.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Self::SaleOpened => "flash_sale.sale.opened.v1",
            Self::SaleEnded => "flash_sale.sale.ended.v1",
            Self::SaleSoldOut => "flash_sale.sale.sold_out.v1",
            Self::ItemSoldOut => "flash_sale.item.sold_out.v1",
            Self::PurchaseSettled => "flash_sale.purchase.settled.v1",
            Self::PurchaseCancelled => "flash_sale.purchase.cancelled.v1",
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
    /// The same at every try.
    pub id: String,
    /// Its kind.
    pub kind: EventKind,
    /// Events with the same key are delivered in order: the buyer of a purchase, else the sale.
    pub order_key: String,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// The whole CloudEvent, JSON. What is signed and sent.
    pub body: Bytes,
}

/// The events of one committed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// Its place in the log, which counts events: the number of all events up to the last of this batch.
    pub position: i64,
    /// When it was written.
    pub written_at: DateTime<Utc>,
    /// Its events, in order.
    pub events: Vec<Event>,
}

/// The log of all events, from which every sink reads at its own pace.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Whole batches after a position, in order, as few as have `at_least` events together; fewer at the end of the log. MUST NOT
    /// skip a batch that commits later than one that it has returned.
    async fn read(&self, after: i64, at_least: usize) -> Result<Vec<EventBatch>, PortError>;

    /// The position of the newest committed batch (0: none).
    async fn end(&self) -> Result<i64, PortError>;
}

/// Positions in the log, for those who need no events.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait EventPositions: Send + Sync {
    /// The position of the newest committed batch (0: none): where a new endpoint begins.
    async fn end(&self) -> Result<i64, PortError>;

    /// The first position whose batch was written at or after this time; one after the end if there is none.
    async fn position_at(&self, time: DateTime<Utc>) -> Result<i64, PortError>;

    /// The last position whose batch was written before this time; 0 if there is none.
    async fn position_before(&self, time: DateTime<Utc>) -> Result<i64, PortError>;
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

/// The subject of a row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxContent {
    /// Purchases of one batch, and the items that are sold out since then.
    Settled(Vec<AttemptId>, Vec<ItemNo>),
    /// Lines of a purchase were taken back.
    Cancelled(CancelledPurchase),
    /// The sale has opened.
    SaleOpened,
    /// The sale has sold out.
    SaleSoldOut,
    /// The sale has ended, with its report in JSON.
    SaleEnded(String),
}

/// The lines of a purchase that one cancellation took back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelledPurchase {
    /// The attempt that had bought them.
    pub attempt: AttemptId,
    /// The buyer.
    pub buyer: BuyerId,
    /// When.
    pub cancelled_at: DateTime<Utc>,
    /// What was taken back, by item number.
    pub lines: Vec<Line>,
    /// Pieces of the purchase that stay sold.
    pub pieces_left: i32,
}

/// The outbox, which transactions write their events to.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Puts what is committed in order; returns the number of rows. Several callers at a time do not wait for each other.
    async fn order(&self) -> Result<u64, PortError>;

    /// Rows after a position, at most so many, in order.
    async fn read(&self, after: i64, at_most: usize) -> Result<Vec<OutboxRow>, PortError>;

    /// The last position.
    async fn end(&self) -> Result<i64, PortError>;

    /// Writes the events of sales that have opened within this time, each once.
    async fn announce_openings(&self, within: Duration) -> Result<(), PortError>;

    /// Deletes rows that are older, whatever these sinks and the endpoints of webhooks have received of them.
    async fn prune(&self, keep: Duration, sinks: &[&'static str]) -> Result<Pruned, PortError>;
}

/// What was deleted of the outbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Deleted rows.
    pub rows: u64,
    /// Sinks that had not received all of them, and how many events each lacks; `webhook` stands for each endpoint.
    pub missed: Vec<(String, u64)>,
}

/// Reads what purchases came to, of any buyer.
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

/// The content of an event.
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
    /// What was taken back of the purchase of a code, with the names of its items.
    PurchaseCancelled(CodeClaim, CancelledPurchase, Vec<Item>),
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

/// What events tell of, besides outcomes: sales, their items, and codes.
#[async_trait]
pub trait EventSubjects: Send + Sync {
    /// The sale; `None` if there is none.
    async fn sale(&self, id: SaleId) -> Result<Option<Sale>, PortError>;

    /// Items of a sale, those that it has.
    async fn items(&self, sale: SaleId, numbers: Vec<ItemNo>) -> Result<Vec<Item>, PortError>;

    /// The code of each of these attempts of a sale.
    async fn codes(
        &self,
        sale: SaleId,
        attempts: Vec<AttemptId>,
    ) -> Result<Vec<CodeClaim>, PortError>;
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

    /// Saves the second position in the place of the first, and prolongs the right. `false` if the owner has lost it, or the
    /// sink is elsewhere, because a failover has lost its last positions: then nothing is saved.
    async fn advance(
        &self,
        sink: &'static str,
        owner: Uuid,
        positions: (i64, i64),
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

    /// Events were deleted before this sink had received them.
    fn missed(&self, sink: &str, events: u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_short_name_which_its_type_contains() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.short_name()), Some(kind));
            assert_eq!(kind.type_name(), format!("flash_sale.{}.v1", kind.short_name()));
        }
        assert_eq!(EventKind::parse("flash_sale.sale.opened.v1"), None);
    }
}
