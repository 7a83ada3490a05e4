//! What the two batch adapters of an instance share.

use std::sync::Arc;

use super::contention::ContentionTracker;
use super::lost_writes::LostWrites;
use super::recent_writes::RecentWrites;
use crate::infrastructure::persistence::pool::database::Database;

/// The pool, and what the batches of an instance learn from each other. Cloning it shares it.
#[derive(Debug, Clone)]
pub(crate) struct BatchContext {
    pub(crate) database: Database,
    pub(crate) contention: Arc<ContentionTracker>,
    pub(crate) recent_writes: Arc<RecentWrites>,
    pub(crate) lost_writes: Arc<LostWrites>,
}

impl BatchContext {
    /// For adapters that know of no other writer and have written nothing yet.
    pub(crate) fn new(database: Database) -> Self {
        let recent_writes = Arc::<RecentWrites>::default();
        let forgotten = Arc::clone(&recent_writes);
        let lost_writes = Arc::<LostWrites>::default();
        let suspects = Arc::clone(&lost_writes);
        database.history().when_changed(move || suspects.suspect(forgotten.clear()));
        Self { database, contention: Arc::default(), recent_writes, lost_writes }
    }
}
