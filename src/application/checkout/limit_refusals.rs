//! A cache of refusals at the buyer limit that PostgreSQL has confirmed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::checkout::BuyerPieces;
use crate::domain::ids::{BuyerId, SaleId};

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
    /// Version of the cached totals that PostgreSQL confirmed, if there was one: the buyer's next commit changes it.
    version: Option<i64>,
    pieces: BuyerPieces,
    at: Duration,
}

impl LimitRefusalCache {
    /// The buyer's pieces, if PostgreSQL has confirmed the refusal for totals of this version within the last second.
    pub(super) fn confirmed(
        &self,
        sale: SaleId,
        buyer: &BuyerId,
        version: i64,
        now: Duration,
    ) -> Option<BuyerPieces> {
        let entries = self.entries();
        let refusal = entries.get(&(sale, buyer.clone()))?;
        let is_fresh = now.saturating_sub(refusal.at) < TTL;
        (refusal.version == Some(version) && is_fresh).then_some(refusal.pieces)
    }

    /// Whether the buyer has an entry, however old.
    pub(super) fn contains(&self, sale: SaleId, buyer: &BuyerId) -> bool {
        let entries = self.entries();
        !entries.is_empty() && entries.contains_key(&(sale, buyer.clone()))
    }

    /// Stores a refusal that was confirmed now.
    pub(super) fn insert(
        &self,
        sale: SaleId,
        buyer: &BuyerId,
        (version, pieces): (Option<i64>, BuyerPieces),
        now: Duration,
    ) {
        let mut entries = self.entries();
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert((sale, buyer.clone()), LimitRefusal { version, pieces, at: now });
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<(SaleId, BuyerId), LimitRefusal>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
