//! One sale in memory: the sale, its catalogue, its sold-out items.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::application::catalogue::Catalogue;
use crate::application::ports::StockFacts;
use crate::domain::ids::ItemNo;
use crate::domain::sale::Sale;

/// Maximum age of a reading that may refuse a request (promise I2).
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// A sale in memory, with its sold-out items.
#[derive(Debug)]
pub struct CachedSale {
    /// The sale.
    pub sale: Arc<Sale>,
    pub(super) catalogue: Arc<OnceCell<Arc<Catalogue>>>,
    /// One bit per item, by its number from 1.
    sold_out: Vec<AtomicU64>,
    sold_out_count: AtomicUsize,
    /// Monotonic time of the last reading, in microseconds.
    read_at: AtomicU64,
    is_warm: AtomicBool,
}

impl CachedSale {
    pub(super) fn new(sale: Sale, read_at: Duration) -> Self {
        let words = usize::try_from(sale.items).unwrap_or(0).div_ceil(64);
        Self {
            sale: Arc::new(sale),
            catalogue: Arc::default(),
            sold_out: (0..words).map(|_| AtomicU64::new(0)).collect(),
            sold_out_count: AtomicUsize::new(0),
            read_at: AtomicU64::new(micros(read_at)),
            is_warm: AtomicBool::new(false),
        }
    }

    /// A changed sale with the catalogue of the old one, which may still be loading.
    pub(super) fn with_catalogue_of(old: &Self, sale: Sale, read_at: Duration) -> Self {
        Self { catalogue: Arc::clone(&old.catalogue), ..Self::new(sale, read_at) }
    }

    /// The sale without catalogue and sold-out items.
    pub(super) fn without_items(&self) -> Self {
        Self {
            sale: Arc::clone(&self.sale),
            catalogue: Arc::default(),
            sold_out: Vec::new(),
            sold_out_count: AtomicUsize::new(0),
            read_at: AtomicU64::new(self.read_at.load(Ordering::Relaxed)),
            is_warm: AtomicBool::new(false),
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
        self.bit(item).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Whether the sale has an item with this number.
    #[must_use]
    pub fn has_item(&self, item: ItemNo) -> bool {
        (1..=self.sale.items).contains(&item.0)
    }

    /// Whether every item is known to be sold out.
    #[must_use]
    pub fn all_sold_out(&self) -> bool {
        i32::try_from(self.sold_out_count.load(Ordering::Relaxed)) == Ok(self.sale.items)
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
        if facts.generation != self.sale.generation {
            return;
        }
        for item in &facts.sold_out {
            let Some((word, bit)) = self.bit(*item) else {
                continue;
            };
            if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                self.sold_out_count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn bit(&self, item: ItemNo) -> Option<(&AtomicU64, u64)> {
        let place = usize::try_from(item.0).ok()?.checked_sub(1)?;
        Some((self.sold_out.get(place / 64)?, 1 << (place % 64)))
    }

    /// PostgreSQL returned the same sale at this time.
    pub(super) fn mark_read(&self, read_at: Duration) {
        self.read_at.fetch_max(micros(read_at), Ordering::Relaxed);
    }

    pub(super) fn is_fresh(&self, now: Duration) -> bool {
        let read_at = Duration::from_micros(self.read_at.load(Ordering::Relaxed));
        now.saturating_sub(read_at) < FRESH_FOR
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
