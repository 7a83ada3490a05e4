//! A cache of refusals at the buyer limit that PostgreSQL has confirmed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::checkout::BuyerPieces;
use crate::domain::ids::{BuyerId, SaleId};
use crate::domain::sale::Sale;

/// A confirmed refusal may be repeated for this long.
const TTL: Duration = Duration::from_secs(1);
/// Maximum number of entries; at this size the cache is cleared.
const MAX_ENTRIES: usize = 10_000;

/// The last confirmed refusal of each buyer. Times are monotonic times of this process.
#[derive(Debug, Default)]
pub(super) struct LimitRefusalCache {
    entries: Mutex<HashMap<(SaleId, BuyerId), LimitRefusal>>,
}

#[derive(Debug)]
struct LimitRefusal {
    /// Of the sale: a purchase that is taken back gives its buyer's limit back, and the sale the next one.
    generation: i64,
    /// Version of the cached totals that PostgreSQL confirmed, if there was one: the buyer's next commit changes it.
    version: Option<i64>,
    pieces: BuyerPieces,
    at: Duration,
}

impl LimitRefusalCache {
    /// The buyer's pieces, if PostgreSQL has confirmed the refusal for totals of this version within the last second, and in the
    /// sale's generation.
    pub(super) fn confirmed(
        &self,
        sale: &Sale,
        buyer: &BuyerId,
        version: i64,
        now: Duration,
    ) -> Option<BuyerPieces> {
        let entries = self.entries();
        let refusal = entries.get(&(sale.id, buyer.clone()))?;
        let is_fresh = now.saturating_sub(refusal.at) < TTL;
        let is_same = refusal.version == Some(version) && refusal.generation == sale.generation;
        (is_same && is_fresh).then_some(refusal.pieces)
    }

    /// Whether the buyer has an entry, however old.
    pub(super) fn contains(&self, sale: SaleId, buyer: &BuyerId) -> bool {
        let entries = self.entries();
        !entries.is_empty() && entries.contains_key(&(sale, buyer.clone()))
    }

    /// Stores a refusal that was confirmed now.
    pub(super) fn insert(
        &self,
        sale: &Sale,
        buyer: &BuyerId,
        (version, pieces): (Option<i64>, BuyerPieces),
        now: Duration,
    ) {
        let mut entries = self.entries();
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        let generation = sale.generation;
        let refusal = LimitRefusal { generation, version, pieces, at: now };
        entries.insert((sale.id, buyer.clone()), refusal);
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<(SaleId, BuyerId), LimitRefusal>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{a_sale, buyer};

    #[test]
    fn a_refusal_ends_with_its_second_with_its_totals_and_with_the_sales_generation() {
        let (cache, sale, ann) = (LimitRefusalCache::default(), a_sale(1), buyer("ann"));
        let (pieces, second) = (BuyerPieces { bought: 10, collected: 0 }, Duration::from_secs(1));
        cache.insert(&sale, &ann, (Some(7), pieces), second);

        let confirmed = |sale: &Sale, version, now| cache.confirmed(sale, &ann, version, now);

        assert_eq!(confirmed(&sale, 7, second), Some(pieces));
        assert_eq!(confirmed(&sale, 7, second * 2), None);
        assert_eq!(confirmed(&sale, 8, second), None);
        let returned = Sale { generation: sale.generation + 1, ..sale };
        assert_eq!(confirmed(&returned, 7, second), None);
    }
}
