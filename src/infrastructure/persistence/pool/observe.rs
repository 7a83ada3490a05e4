//! Measures what the pool does: times statements, counts errors, shows the connections in use.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;

use super::database::Database;
use super::error::{DatabaseError, ErrorClass};
use super::metrics::Statement;
use crate::infrastructure::traces::{Kind, fail, span_with};

/// What the span of a statement says.
fn describe() -> Vec<KeyValue> {
    vec![KeyValue::new("db.system.name", "postgresql")]
}

impl Database {
    /// Times a statement, in a span.
    pub(crate) async fn time<T>(
        &self,
        statement: Statement,
        run: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, DatabaseError> {
        let since = Instant::now();
        let result = span_with((statement.as_str(), Kind::Client), describe, async {
            let result = run.await;
            if result.is_err() {
                fail("the statement failed");
            }
            result
        })
        .await;
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
