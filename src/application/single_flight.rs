//! Single flight: one query at a time, whose result concurrent callers share.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use crate::application::ports::PortError;

/// Serializes a query. A caller that waited shares the result if the query began after the caller arrived, and shares a
/// failure if it happened after that: while PostgreSQL is down, callers wait for one timeout, not one after the other.
#[derive(Default)]
pub(crate) struct SingleFlight(Mutex<LastFlight>);

/// The last query. Times are monotonic times of this process.
#[derive(Default)]
pub(crate) struct LastFlight {
    /// Begin of the last successful query.
    began_at: Option<Duration>,
    /// End of the last failed query.
    failed_at: Option<Duration>,
}

impl SingleFlight {
    /// Waits until no query runs. The next one can run after the guard is dropped.
    pub(crate) async fn enter(&self) -> MutexGuard<'_, LastFlight> {
        self.0.lock().await
    }
}

impl LastFlight {
    /// Whether a query that began at or after this time succeeded.
    pub(crate) fn has_succeeded_since(&self, time: Duration) -> bool {
        self.began_at.is_some_and(|began_at| began_at >= time)
    }

    /// An error if a query failed after this time.
    pub(crate) fn check_failure_since(&self, time: Duration) -> Result<(), PortError> {
        if self.failed_at.is_some_and(|failed_at| failed_at > time) {
            let source = "a concurrent query for it has just failed".into();
            return Err(PortError::Unavailable { what: "the sale", source });
        }
        Ok(())
    }

    /// Stores the result of a query that began at `began_at`.
    pub(crate) fn record<T>(
        &mut self,
        began_at: Duration,
        now: Duration,
        result: &Result<T, PortError>,
    ) {
        match result {
            Ok(_) => self.began_at = Some(began_at),
            Err(_) => self.failed_at = Some(now),
        }
    }
}
