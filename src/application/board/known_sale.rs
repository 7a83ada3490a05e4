//! One sale on the board: what it is, what it sells, what is sold out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::FRESH_FOR;
use crate::application::catalogue::Catalogue;
use crate::application::ports::StockFacts;
use crate::domain::ids::ItemNo;
use crate::domain::sale::Sale;

/// A sale on the board, with what is known of its stock.
#[derive(Debug)]
pub struct KnownSale {
    /// The sale.
    pub sale: Arc<Sale>,
    pub(super) catalogue: Arc<OnceCell<Arc<Catalogue>>>,
    /// One bit an item, by its number from 1.
    pub(super) sold_out: Vec<AtomicU64>,
    pub(super) sold_out_count: AtomicUsize,
    /// Monotonic time of the last look, in microseconds.
    pub(super) seen_at: AtomicU64,
    /// Whether the whole stock was read once.
    pub(super) is_warm: AtomicBool,
}

impl KnownSale {
    pub(super) fn new(sale: Sale, seen_at: Duration) -> Self {
        let words = usize::try_from(sale.items).unwrap_or(0).div_ceil(64);
        Self {
            sale: Arc::new(sale),
            catalogue: Arc::default(),
            sold_out: (0..words).map(|_| AtomicU64::new(0)).collect(),
            sold_out_count: AtomicUsize::new(0),
            seen_at: AtomicU64::new(micros(seen_at)),
            is_warm: AtomicBool::new(false),
        }
    }

    /// The catalogue, if it is in memory.
    #[must_use]
    pub fn loaded(&self) -> Option<&Arc<Catalogue>> {
        self.catalogue.get()
    }

    /// Whether the item is known to be sold out. Only a fresh board may refuse for it.
    #[must_use]
    pub fn is_sold_out(&self, item: ItemNo) -> bool {
        self.bit(item).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Whether the whole stock was read since the sale's last change: what is sold out is then known as well as anybody
    /// can tell.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.is_warm.load(Ordering::Relaxed)
    }

    /// Whether every item is known to be sold out.
    #[must_use]
    pub fn all_sold_out(&self) -> bool {
        i32::try_from(self.sold_out_count.load(Ordering::Relaxed)) == Ok(self.sale.items)
    }

    /// Takes in what a committed transaction saw. Facts of another generation say nothing about this one.
    pub(super) fn learn(&self, facts: &StockFacts) {
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

    /// The sale alone.
    pub(super) fn without_items(&self) -> Self {
        Self {
            sale: Arc::clone(&self.sale),
            catalogue: Arc::default(),
            sold_out: Vec::new(),
            sold_out_count: AtomicUsize::new(0),
            seen_at: AtomicU64::new(self.seen_at.load(Ordering::Relaxed)),
            is_warm: AtomicBool::new(false),
        }
    }

    pub(super) fn is_fresh(&self, now: Duration) -> bool {
        let seen_at = Duration::from_micros(self.seen_at.load(Ordering::Relaxed));
        now.saturating_sub(seen_at) < FRESH_FOR
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
