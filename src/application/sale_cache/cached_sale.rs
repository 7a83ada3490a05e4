//! One sale in memory: the sale, its catalogue, its sold-out items.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::sold_out::SoldOutItems;
use crate::application::catalogue::Catalogue;
use crate::application::ports::StockFacts;
use crate::domain::ids::ItemNo;
use crate::domain::sale::Sale;

/// Maximum age of a reading that may refuse a request (promise I2).
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// Memory for an item of a catalogue that was never loaded. One with the default texts takes about 20 bytes; one with a name and an id
/// of its own, and a link like those of the others, about 50.
const BYTES_AN_ITEM: usize = 60;

/// A sale in memory, with its sold-out items.
#[derive(Debug)]
pub struct CachedSale {
    /// The sale.
    pub sale: Arc<Sale>,
    pub(super) catalogue: Arc<OnceCell<Arc<Catalogue>>>,
    sold_out: SoldOutItems,
    is_warm: AtomicBool,
    /// Monotonic time of the last reading, in microseconds.
    read_at: AtomicU64,
    marks: Arc<Marks>,
}

/// What stays of a sale when it is read anew or loses its items. Times are monotonic, in microseconds; 0 is never.
#[derive(Debug, Default)]
struct Marks {
    /// The last poll before the last request for the sale.
    used_at: AtomicU64,
    /// The last purchase that this instance acknowledged.
    sold_at: AtomicU64,
    /// Whether a request has asked for its items.
    items_wanted: AtomicBool,
    /// Bytes of the catalogue when it was last in memory.
    catalogue_bytes: AtomicUsize,
}

impl CachedSale {
    pub(super) fn new(sale: Sale, read_at: Duration) -> Self {
        Self {
            sold_out: SoldOutItems::of(sale.items),
            sale: Arc::new(sale),
            catalogue: Arc::default(),
            is_warm: AtomicBool::new(false),
            read_at: AtomicU64::new(micros(read_at)),
            marks: Arc::default(),
        }
    }

    /// A changed sale in the place of the old one. `same_items`: with its catalogue, which may still be loading.
    pub(super) fn changed(old: &Self, sale: Sale, read_at: Duration, same_items: bool) -> Self {
        let catalogue =
            if same_items { Arc::clone(&old.catalogue) } else { Arc::<OnceCell<_>>::default() };
        Self { catalogue, marks: Arc::clone(&old.marks), ..Self::new(sale, read_at) }
    }

    /// The sale without catalogue and sold-out items, which are loaded again when they are needed.
    pub(super) fn without_items(&self) -> Self {
        Self {
            sale: Arc::clone(&self.sale),
            catalogue: Arc::default(),
            sold_out: SoldOutItems::of(self.sale.items),
            is_warm: AtomicBool::new(false),
            read_at: AtomicU64::new(self.read_at.load(Ordering::Relaxed)),
            marks: Arc::clone(&self.marks),
        }
    }

    /// The catalogue, if it is loaded.
    #[must_use]
    pub fn loaded_catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.catalogue.get()
    }

    /// Whether the item is known to be sold out. Only a fresh reading may refuse a request for it.
    #[must_use]
    pub fn is_sold_out(&self, item: ItemNo) -> bool {
        self.sold_out.contains(item)
    }

    /// Whether the sale has an item with this number.
    #[must_use]
    pub fn has_item(&self, item: ItemNo) -> bool {
        (1..=self.sale.items).contains(&item.0)
    }

    /// Whether every item is known to be sold out.
    #[must_use]
    pub fn all_sold_out(&self) -> bool {
        i32::try_from(self.sold_out_items()) == Ok(self.sale.items)
    }

    /// Number of items that are known to be sold out.
    #[must_use]
    pub fn sold_out_items(&self) -> usize {
        self.sold_out.len()
    }

    /// Whether the whole stock was read in this generation, so that all sold-out items are known.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.is_warm.load(Ordering::Relaxed)
    }

    pub(super) fn mark_warm(&self) {
        self.is_warm.store(true, Ordering::Relaxed);
    }

    /// Applies the stock of a committed transaction. Facts of another generation are ignored.
    ///
    /// MUST be called on what was found before the transaction read: when the database has another history, all cached sales are
    /// replaced, and facts of the old history then change nothing.
    pub fn apply_stock(&self, facts: &StockFacts) {
        if facts.generation == self.sale.generation {
            facts.sold_out.iter().for_each(|item| self.sold_out.insert(*item));
        }
    }

    /// PostgreSQL returned the same sale at this time.
    pub(super) fn mark_read(&self, read_at: Duration) {
        self.read_at.fetch_max(micros(read_at), Ordering::Relaxed);
    }

    pub(super) fn is_fresh(&self, now: Duration) -> bool {
        let read_at = Duration::from_micros(self.read_at.load(Ordering::Relaxed));
        now.saturating_sub(read_at) < FRESH_FOR
    }

    /// Whether it was read at this time or later.
    pub(super) fn is_read_since(&self, time: Duration) -> bool {
        self.read_at.load(Ordering::Relaxed) >= micros(time)
    }

    /// A request asks for the sale after the poll at this time. Requests between two polls write once, so that they do not
    /// contend for the memory.
    pub(super) fn mark_used(&self, poll: u64) {
        if self.marks.used_at.load(Ordering::Relaxed) != poll {
            self.marks.used_at.store(poll, Ordering::Relaxed);
        }
    }

    pub(super) fn used_at(&self) -> u64 {
        self.marks.used_at.load(Ordering::Relaxed)
    }

    /// A request asks for items of the sale.
    pub(super) fn mark_items_wanted(&self) {
        self.marks.items_wanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn are_items_wanted(&self) -> bool {
        self.marks.items_wanted.load(Ordering::Relaxed)
    }

    /// This instance has acknowledged a purchase in the sale.
    pub fn mark_sold(&self, now: Duration) {
        self.marks.sold_at.fetch_max(micros(now), Ordering::Relaxed);
    }

    /// Monotonic time of the last purchase that this instance acknowledged.
    #[must_use]
    pub fn sold_at(&self) -> Option<Duration> {
        match self.marks.sold_at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Duration::from_micros(at)),
        }
    }

    /// Bytes that its items take in memory.
    pub(super) fn item_bytes(&self) -> usize {
        let catalogue = self.loaded_catalogue().map_or(0, |catalogue| catalogue.bytes());
        catalogue + self.sold_out.bytes()
    }

    /// Bytes that its catalogue takes once it is loaded: an estimate before the first time.
    pub(super) fn catalogue_bytes(&self) -> usize {
        match self.marks.catalogue_bytes.load(Ordering::Relaxed) {
            0 => usize::try_from(self.sale.items).unwrap_or(0).saturating_mul(BYTES_AN_ITEM),
            bytes => bytes,
        }
    }

    pub(super) fn record_catalogue_bytes(&self, bytes: usize) {
        self.marks.catalogue_bytes.store(bytes, Ordering::Relaxed);
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
