//! Measures what the pool does: times statements, counts errors, shows the connections in use.

use std::time::{Duration, Instant};

use super::database::Database;
use super::error::{DatabaseError, ErrorClass};
use super::metrics::Statement;

impl Database {
    /// Times a statement.
    pub(crate) async fn time<T>(
        &self,
        statement: Statement,
        run: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, DatabaseError> {
        let since = Instant::now();
        let result = run.await;
        self.metrics.queried(statement, since.elapsed());
        result.map_err(|error| self.record(error.into()))
    }

    /// Records how long statements took that were timed together.
    pub(crate) fn timed(&self, statement: Statement, took: Duration) {
        self.metrics.queried(statement, took);
    }

    /// Counts an error and returns it. An error of the connection marks the pool's other connections as stale and starts a probe.
    pub(crate) fn record(&self, error: DatabaseError) -> DatabaseError {
        self.metrics.failed(error.class());
        if error.is_read_only() {
            self.stale_connections.record_unusable();
        } else if matches!(error, DatabaseError::Outdated) {
            self.setup.history().doubt();
            self.stale_connections.record_unusable();
        } else if error.class() == ErrorClass::Connection {
            self.stale_connections.record_broken();
            self.probe.probe_now();
        }
        error
    }

    /// The server turned out to be read-only: a connection that was made before is not lent again.
    pub(super) fn record_read_only(&self) {
        self.stale_connections.record_unusable();
    }

    /// Updates the gauges of the pool.
    pub(crate) fn observe_pool(&self) {
        let (size, idle) = self.connections.size_and_idle();
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        self.metrics.connections(size, idle, self.connections.max());
        self.metrics.waiting(self.connections.waiting());
    }
}
