//! The sold-out items of one sale: a bit for each item.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::domain::ids::ItemNo;

/// A set of items that only grows. It takes no memory before the first one.
#[derive(Debug)]
pub(super) struct SoldOutItems {
    items: usize,
    /// One bit per item, by its number from 1.
    bits: OnceLock<Box<[AtomicU64]>>,
    count: AtomicUsize,
}

impl SoldOutItems {
    /// An empty set for a sale with this many items.
    pub(super) fn of(items: i32) -> Self {
        let items = usize::try_from(items).unwrap_or(0);
        Self { items, bits: OnceLock::new(), count: AtomicUsize::new(0) }
    }

    pub(super) fn contains(&self, item: ItemNo) -> bool {
        let Some((word, bit)) = position(item) else {
            return false;
        };
        let word = self.bits.get().and_then(|bits| bits.get(word));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Adds an item; a number that the sale does not have is ignored.
    pub(super) fn insert(&self, item: ItemNo) {
        let words = self.items.div_ceil(64);
        let bits = self.bits.get_or_init(|| (0..words).map(|_| AtomicU64::new(0)).collect());
        let Some((word, bit)) = position(item) else {
            return;
        };
        let Some(word) = bits.get(word) else {
            return;
        };
        if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bits.get().map_or(0, |bits| size_of_val(&**bits))
    }
}

/// The word of an item, and its bit there.
fn position(item: ItemNo) -> Option<(usize, u64)> {
    let place = usize::try_from(item.0).ok()?.checked_sub(1)?;
    Some((place / 64, 1 << (place % 64)))
}
