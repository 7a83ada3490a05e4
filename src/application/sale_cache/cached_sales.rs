//! All sales in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::cached_sale::CachedSale;
use crate::domain::ids::SaleId;
use crate::domain::sale::{ClockReading, Sale, SaleState};

/// Maximum number of sales in memory. Beyond it the ended ones are removed, then those that no request has asked for the longest.
pub(super) const MAX_SALES: usize = 10_000;

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
        is_current: impl Fn() -> bool,
    ) -> Arc<CachedSale> {
        // Most readings change nothing: those need no lock that keeps requests away.
        if let Some(old) = self.get(sale.id)
            && is_unchanged(&old, &sale)
            && is_current()
        {
            old.mark_read(read_at);
            return old;
        }
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
            if is_unchanged(old, &sale) {
                old.mark_read(read_at);
                return Arc::clone(old);
            }
        }
        // The items of a sale do not change after its start, so its catalogue stays valid.
        let has_started = |old: &CachedSale| {
            reading.is_some_and(|reading| state(old, reading) != Some(SaleState::Upcoming))
        };
        let new = Arc::new(match old {
            Some(old) => {
                let same_items = old.sale.items == sale.items && has_started(old);
                CachedSale::changed(old, sale, read_at, same_items)
            }
            None => CachedSale::new(sale, read_at),
        });
        sales.insert(new.sale.id, Arc::clone(&new));
        new
    }

    /// Removes a sale that PostgreSQL does not have any more.
    pub(super) fn remove(&self, id: SaleId) {
        if self.get(id).is_none() {
            return;
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Sales that are open, or may be within the clock's error.
    pub(super) fn open(&self, reading: ClockReading) -> Vec<Arc<CachedSale>> {
        self.filtered(|cached| matches!(state(cached, reading), Some(SaleState::Open) | None))
    }

    /// Sales that certainly have not started, earliest start first.
    pub(super) fn upcoming(&self, reading: ClockReading) -> Vec<Arc<CachedSale>> {
        let mut upcoming =
            self.filtered(|cached| state(cached, reading) == Some(SaleState::Upcoming));
        upcoming.sort_by_key(|cached| cached.sale.window.starts_at());
        upcoming
    }

    /// Sales that requests have asked for after this poll.
    pub(super) fn used_since(&self, poll: u64) -> Vec<Arc<CachedSale>> {
        self.filtered(|cached| cached.used_at() > poll)
    }

    /// Drops the items of ended sales, and whole sales that neither are `live` nor were used since this poll; ended ones only
    /// beyond [`MAX_SALES`]: their number and window still justify refusals.
    pub(super) fn tidy_up(&self, reading: ClockReading, live: &HashSet<SaleId>, idle_since: u64) {
        let has_ended = |cached: &CachedSale| state(cached, reading) == Some(SaleState::Ended);
        let mut others = Vec::new();
        let mut removed = Vec::new();
        for cached in self.filtered(|cached| has_ended(cached) || !live.contains(&cached.sale.id)) {
            if has_ended(&cached) && cached.item_bytes() > 0 {
                self.drop_items(&cached);
            }
            if live.contains(&cached.sale.id) {
                continue;
            }
            if has_ended(&cached) || cached.used_at() > idle_since {
                others.push(cached);
            } else {
                removed.push(cached);
            }
        }
        let excess = (others.len() + live.len()).saturating_sub(MAX_SALES);
        others.sort_by_key(|cached| (!has_ended(cached), cached.used_at()));
        removed.extend(others.into_iter().take(excess));
        if removed.is_empty() {
            return;
        }
        let mut sales = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for cached in removed {
            sales.remove(&cached.sale.id);
        }
    }

    /// Drops the items of a sale that still is the one in memory.
    pub(super) fn drop_items(&self, old: &Arc<CachedSale>) {
        let mut sales = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = sales.get_mut(&old.sale.id)
            && Arc::ptr_eq(cached, old)
        {
            *cached = Arc::new(old.without_items());
        }
    }

    /// Sales whose items are in memory, those first that no request has asked for the longest.
    pub(super) fn with_items(&self) -> Vec<Arc<CachedSale>> {
        let mut loaded = self.filtered(|cached| cached.item_bytes() > 0);
        loaded.sort_by_key(|cached| cached.used_at());
        loaded
    }

    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn filtered(&self, is_wanted: impl Fn(&CachedSale) -> bool) -> Vec<Arc<CachedSale>> {
        let sales = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sales.values().filter(|cached| is_wanted(cached)).cloned().collect()
    }
}

fn is_unchanged(old: &CachedSale, read: &Sale) -> bool {
    *old.sale == *read
}

fn state(cached: &CachedSale, reading: ClockReading) -> Option<SaleState> {
    cached.sale.window.state_within(reading)
}
