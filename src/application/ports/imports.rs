//! Imports of items.

use std::io::Read;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::system::{BoxError, PortError};
use crate::domain::ids::SaleId;
use crate::domain::import::{NewItem, RawItem, Rejected};
use crate::domain::sale::SaleWindow;

/// What is read next of an import.
#[derive(Debug)]
pub enum ReadItem {
    /// A row.
    Item(RawItem),
    /// A line that is no row.
    Unreadable(Rejected),
}

/// The rows of an import, one after the other.
pub trait ItemSource: Send {
    /// The next row; `None` at the end. An error is one of the whole source: nothing can be imported.
    fn next(&mut self) -> Result<Option<ReadItem>, BoxError>;
}

/// The format of items in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemFormat {
    /// Comma-separated, with a header.
    Csv,
    /// A JSON object a line.
    JsonLines,
}

/// Reads formats of items.
pub trait ItemFormats: Send + Sync {
    /// The items of an input.
    fn open(&self, format: ItemFormat, input: Box<dyn Read + Send>) -> Box<dyn ItemSource>;
}

/// Where items are imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportTarget {
    /// Into this sale.
    Sale(SaleId),
    /// Into a new sale.
    New(ImportedSale),
}

/// A sale that an import creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedSale {
    /// Its display name.
    pub name: String,
    /// The time in which it is open.
    pub window: SaleWindow,
    /// Maximum number of pieces per buyer.
    pub buyer_limit: i32,
}

/// Why the rest of an import is not wanted.
#[derive(Debug, thiserror::Error)]
pub enum ImportStop {
    /// A row was rejected, and the import is all or nothing.
    #[error("a row was rejected")]
    Rejected,
    /// The source failed.
    #[error("the items cannot be read")]
    Source(#[source] BoxError),
}

/// Items that were checked, in batches.
pub trait ItemBatches: Send {
    /// An id that the sale has already.
    fn exclude(&mut self, id: &str);

    /// The next batch of bounded size; empty at the end.
    fn next(&mut self) -> Result<Vec<NewItem>, ImportStop>;
}

/// Why nothing is imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportRefusal {
    /// There is no such sale.
    #[error("there is no sale {0}")]
    UnknownSale(SaleId),
    /// The items of a sale are fixed once it can be open.
    #[error("the sale has started, starts within {} seconds, or was cancelled: its items are fixed", .0.as_secs())]
    ItemsFixed(Duration),
    /// No item was read.
    #[error("there are no items")]
    Nothing,
    /// The import was stopped.
    #[error(transparent)]
    Stopped(#[from] ImportStop),
}

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// The sale.
    pub sale: SaleId,
    /// Number of items.
    pub items: i32,
    /// When the sale starts.
    pub starts_at: DateTime<Utc>,
}

/// Adds many items to a sale.
#[async_trait]
pub trait ItemImporter: Send + Sync {
    /// Adds all items with the row of the audit, or none: a new sale exists only with them. MUST NOT hold more than a batch in
    /// memory, nor change a sale that can be open before it is committed.
    async fn import(
        &self,
        target: &ImportTarget,
        items: &mut dyn ItemBatches,
        actor: &str,
    ) -> Result<Result<Imported, ImportRefusal>, PortError>;
}
