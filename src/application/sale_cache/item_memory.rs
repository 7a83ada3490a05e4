//! The memory for items of sales: which catalogues may be loaded, and which ones make room for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::cached_sale::CachedSale;
use super::cached_sales::CachedSales;

/// Catalogues that are loaded at a time: more would take PostgreSQL's connections from buyers.
const MAX_LOADS: usize = 2;

/// Keeps the items of sales within a number of bytes.
pub(super) struct ItemMemory {
    max_bytes: usize,
    /// Bytes of the catalogues that are being loaded.
    reserved: Mutex<usize>,
    loads: Semaphore,
    /// No room was found since the last poll: the search need not be repeated for each request.
    is_full: AtomicBool,
}

/// Memory for a catalogue while it is being loaded.
pub(super) struct MemoryReservation<'a> {
    memory: &'a ItemMemory,
    bytes: usize,
    _turn: SemaphorePermit<'a>,
}

impl ItemMemory {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            reserved: Mutex::default(),
            loads: Semaphore::new(MAX_LOADS),
            is_full: AtomicBool::new(false),
        }
    }

    /// Room for the sale's catalogue, if there is any or sales that were last used by the poll `idle_since` make some. A
    /// catalogue that is larger than the whole memory gets all of it.
    pub(super) fn reserve(
        &self,
        sales: &CachedSales,
        wanted: &CachedSale,
        idle_since: Option<u64>,
    ) -> Option<MemoryReservation<'_>> {
        if self.is_full.load(Ordering::Relaxed) {
            return None;
        }
        let turn = self.loads.try_acquire().ok()?;
        let bytes = wanted.catalogue_bytes();
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = sales.with_items();
        let mut in_use: usize = loaded.iter().map(|cached| cached.item_bytes()).sum();
        in_use = in_use.saturating_add(*reserved);
        let mut displaced = Vec::new();
        for cached in &loaded {
            if self.has_room(in_use, bytes) || idle_since.is_none_or(|idle| cached.used_at() > idle)
            {
                break;
            }
            if cached.sale.id != wanted.sale.id {
                in_use = in_use.saturating_sub(cached.item_bytes());
                displaced.push(cached);
            }
        }
        if !self.has_room(in_use, bytes) {
            self.is_full.store(idle_since.is_some(), Ordering::Relaxed);
            return None;
        }
        for cached in displaced {
            sales.drop_items(cached);
        }
        *reserved = reserved.saturating_add(bytes);
        Some(MemoryReservation { memory: self, bytes, _turn: turn })
    }

    fn has_room(&self, in_use: usize, bytes: usize) -> bool {
        in_use == 0 || in_use.saturating_add(bytes) <= self.max_bytes
    }

    /// Drops the items of the sales that no request has asked for the longest, until the rest fits: a catalogue may have turned
    /// out to be larger than expected. The items of the sale that was used last stay in any case.
    pub(super) fn tidy_up(&self, sales: &CachedSales) {
        self.is_full.store(false, Ordering::Relaxed);
        let loaded = sales.with_items();
        let mut in_use: usize = loaded.iter().map(|cached| cached.item_bytes()).sum();
        let all_but_last: &[Arc<CachedSale>] = loaded.split_last().map_or(&[], |(_, rest)| rest);
        for cached in all_but_last {
            if in_use <= self.max_bytes {
                return;
            }
            in_use = in_use.saturating_sub(cached.item_bytes());
            sales.drop_items(cached);
        }
    }
}

impl Drop for MemoryReservation<'_> {
    fn drop(&mut self) {
        let mut reserved = self.memory.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        *reserved = reserved.saturating_sub(self.bytes);
    }
}
