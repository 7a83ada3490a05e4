//! Which of the pool's connections may be unusable.

use std::time::Duration;

use super::last_time::LastTime;

/// After a connection broke, older ones are tested before use for this long.
const SUSPECT_FOR: Duration = Duration::from_mins(1);

/// When connections last turned out to be unusable: others of the same age may be so too.
#[derive(Debug, Default)]
pub(crate) struct StaleConnections {
    broken: LastTime,
    /// When connections that answer were last found to be of no use: the server is read-only, or its history is outdated.
    unusable: LastTime,
}

impl StaleConnections {
    /// A connection broke.
    pub(crate) fn record_broken(&self) {
        self.broken.record();
    }

    /// Connections that answer are of no use: the server is read-only, or a new connection showed another history.
    pub(crate) fn record_unusable(&self) {
        self.unusable.record();
    }

    /// Whether a connection of this age existed when another one broke, within the last minute.
    pub(crate) fn is_suspect(&self, age: Duration) -> bool {
        self.broken.elapsed().is_some_and(|since| since < SUSPECT_FOR && age > since)
    }

    /// Whether a connection of this age existed when connections answered but turned out to be of no use.
    pub(crate) fn is_unusable(&self, age: Duration) -> bool {
        self.unusable.elapsed().is_some_and(|since| age > since)
    }
}
