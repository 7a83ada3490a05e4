//! Asks the primary how far its write-ahead log is.

use std::time::Instant;

use tokio::sync::Mutex;

use super::positions::Positions;
use crate::application::ports::PortError;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;

/// Everything that was acknowledged is below this position: a commit is on disk before its answer.
pub(crate) const POSITION: &str =
    "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint";

/// The primary, and what it has reported.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) database: Database,
    pub(crate) positions: Positions,
    /// The last answer. One question at a time, and all who arrived before it share the answer.
    last: Mutex<Option<(Instant, i64)>>,
}

impl Primary {
    pub(crate) fn new(database: Database, positions: Positions) -> Self {
        Self { database, positions, last: Mutex::default() }
    }

    /// A position above everything that any instance had acknowledged when this was called.
    pub(crate) async fn position(&self) -> Result<i64, PortError> {
        let arrived_at = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((asked_at, position)) = *last
            && asked_at >= arrived_at
        {
            return Ok(position);
        }
        let asked_at = Instant::now();
        let ask = || sqlx::query_scalar(POSITION).fetch_one(self.database.pool());
        let epoch = self.database.history().id();
        let position: i64 =
            self.database.read_as(Statement::Position, "the primary's position", ask).await?;
        if self.database.history().is_still(epoch) {
            self.positions.record(asked_at, position);
        }
        *last = Some((asked_at, position));
        Ok(position)
    }
}
