//! Negative cache: sale ids that PostgreSQL did not find.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::ids::SaleId;

/// An unknown id is looked up again after this time.
const TTL: Duration = Duration::from_secs(1);

/// A bounded set of unknown ids. Times are monotonic times of this process.
pub(super) struct NotFoundCache {
    ids: Mutex<HashMap<SaleId, Duration>>,
    max_ids: usize,
}

impl NotFoundCache {
    /// An empty cache; at `max_ids` entries it is cleared.
    pub(super) fn new(max_ids: usize) -> Self {
        Self { ids: Mutex::default(), max_ids }
    }

    /// Whether the id was not found within the last second.
    pub(super) fn contains(&self, id: SaleId, now: Duration) -> bool {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.get(&id).is_some_and(|since| now.saturating_sub(*since) < TTL)
    }

    /// Stores an id that was not found now.
    pub(super) fn insert(&self, id: SaleId, now: Duration) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= self.max_ids {
            ids.clear();
        }
        ids.insert(id, now);
    }

    /// Forgets all ids.
    pub(super) fn clear(&self) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.lock().unwrap().len()
    }
}
