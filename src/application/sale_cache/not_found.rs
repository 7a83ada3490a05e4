//! Negative cache: sale ids that PostgreSQL did not find.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::ids::SaleId;

/// An unknown id is looked up again after this time.
const TTL: Duration = Duration::from_secs(1);

/// A bounded set of unknown ids. Times are monotonic times of this process.
pub(super) struct NotFoundCache {
    ids: Mutex<HashMap<SaleId, Absence>>,
    max_ids: usize,
}

#[derive(Debug, Clone, Copy)]
struct Absence {
    since: Duration,
    /// `None` if it is not known.
    archived: Option<bool>,
}

impl NotFoundCache {
    /// An empty cache; at `max_ids` entries it is cleared.
    pub(super) fn new(max_ids: usize) -> Self {
        Self { ids: Mutex::default(), max_ids }
    }

    /// Whether the id was not found within the last second.
    pub(super) fn contains(&self, id: SaleId, now: Duration) -> bool {
        self.absence(id, now).is_some()
    }

    /// Whether the id, which was not found within the last second, is that of an archived sale; `None` if that is not known.
    pub(super) fn is_archived(&self, id: SaleId, now: Duration) -> Option<bool> {
        self.absence(id, now)?.archived
    }

    /// Stores an id that was not found now.
    pub(super) fn insert(&self, id: SaleId, now: Duration) {
        self.put(id, Absence { since: now, archived: None });
    }

    /// Stores whether an id is that of an archived sale. One that is not may exist: it is only marked if it was not found.
    pub(super) fn mark(&self, id: SaleId, archived: bool, now: Duration) {
        if archived {
            self.put(id, Absence { since: now, archived: Some(true) });
        } else if let Some(absence) = self.ids().get_mut(&id) {
            absence.archived = Some(false);
        }
    }

    /// Forgets all ids.
    pub(super) fn clear(&self) {
        self.ids().clear();
    }

    fn put(&self, id: SaleId, absence: Absence) {
        let mut ids = self.ids();
        if ids.len() >= self.max_ids {
            ids.clear();
        }
        ids.insert(id, absence);
    }

    fn absence(&self, id: SaleId, now: Duration) -> Option<Absence> {
        let absence = self.ids().get(&id).copied();
        absence.filter(|absence| now.saturating_sub(absence.since) < TTL)
    }

    fn ids(&self) -> MutexGuard<'_, HashMap<SaleId, Absence>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.lock().unwrap().len()
    }
}
