//! All sales in memory.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::cached_sale::CachedSale;
use crate::domain::ids::SaleId;
use crate::domain::sale::{ClockReading, Sale, SaleState};

/// Maximum number of sales in memory, beyond which ended sales are removed.
pub(super) const MAX_SALES: usize = 1_000;

/// The sales in memory, by id.
#[derive(Default)]
pub(super) struct CachedSales(RwLock<HashMap<SaleId, Arc<CachedSale>>>);

impl CachedSales {
    pub(super) fn get(&self, id: SaleId) -> Option<Arc<CachedSale>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Removes all sales.
    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Stores a sale that was read at `read_at`, unless a newer generation is stored, or the history in which it was read is not the
    /// current one any more.
    pub(super) fn put(
        &self,
        sale: Sale,
        read_at: Duration,
        reading: Option<ClockReading>,
        is_current: impl FnOnce() -> bool,
    ) -> Arc<CachedSale> {
        let mut sales = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock: a change that happens later clears what is stored here.
        if !is_current() {
            return Arc::new(CachedSale::new(sale, read_at));
        }
        let old = sales.get(&sale.id);
        if let Some(old) = old {
            // A look-up and a poll may overlap: the older result must not replace the newer one.
            if old.sale.generation > sale.generation {
                return Arc::clone(old);
            }
            if *old.sale == sale {
                old.mark_read(read_at);
                return Arc::clone(old);
            }
        }
        // The items of a sale do not change after its start, so its catalogue stays valid.
        let has_started = |old: &CachedSale| {
            reading.is_some_and(|reading| state(old, reading) != Some(SaleState::Upcoming))
        };
        let same_items = old.filter(|old| old.sale.items == sale.items && has_started(old));
        let new = Arc::new(match same_items {
            Some(old) => CachedSale::with_catalogue_of(old, sale, read_at),
            None => CachedSale::new(sale, read_at),
        });
        sales.insert(new.sale.id, Arc::clone(&new));
        new
    }

    /// Sales that are open, or may be within the clock's error.
    pub(super) fn open(&self, reading: ClockReading) -> Vec<Arc<CachedSale>> {
        self.filtered(|cached| matches!(state(cached, reading), Some(SaleState::Open) | None))
    }

    /// Sales that have certainly not ended, or may not have within the clock's error.
    pub(super) fn not_ended(&self, reading: ClockReading) -> Vec<Arc<CachedSale>> {
        self.filtered(|cached| state(cached, reading) != Some(SaleState::Ended))
    }

    /// Drops the items of ended sales, and the ended sales beyond [`MAX_SALES`]. The number and window of an ended sale
    /// still justify refusals.
    pub(super) fn tidy_up(&self, reading: ClockReading) {
        let mut sales = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let has_ended = |cached: &CachedSale| state(cached, reading) == Some(SaleState::Ended);
        if sales.len() > MAX_SALES {
            sales.retain(|_, cached| !has_ended(cached));
        }
        for cached in sales.values_mut() {
            if has_ended(cached) && cached.loaded_catalogue().is_some() {
                *cached = Arc::new(cached.without_items());
            }
        }
    }

    fn filtered(&self, is_wanted: impl Fn(&CachedSale) -> bool) -> Vec<Arc<CachedSale>> {
        let sales = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sales.values().filter(|cached| is_wanted(cached)).cloned().collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap().len()
    }
}

fn state(cached: &CachedSale, reading: ClockReading) -> Option<SaleState> {
    cached.sale.window.state_within(reading)
}
