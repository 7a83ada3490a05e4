//! Events: what happened in a sale, for the systems behind the shop.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::system::PortError;

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
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SaleOpened,
        Self::SaleEnded,
        Self::SaleSoldOut,
        Self::ItemSoldOut,
        Self::PurchaseSettled,
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
        }
    }

    /// `flash_sale.purchase.settled.v1`, the type of the `CloudEvent`.
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
    /// The same at every try.
    pub id: String,
    /// Its kind.
    pub kind: EventKind,
    /// Events with the same key are delivered in order: the buyer of a purchase, else the sale.
    pub order_key: String,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// The whole `CloudEvent`, JSON. What is signed and sent.
    pub body: Bytes,
}

/// The events of one committed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// Its place in the log.
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

    /// The position of the newest committed batch (0: none): where a new endpoint begins.
    async fn end(&self) -> Result<i64, PortError>;

    /// The first position whose batch was written at or after this time; one after the end if there is none.
    async fn position_at(&self, time: DateTime<Utc>) -> Result<i64, PortError>;
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
