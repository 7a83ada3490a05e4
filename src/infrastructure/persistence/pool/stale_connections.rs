//! Which of the pool's connections may be unusable.

use std::time::Duration;

use super::last_time::LastTime;

/// After a connection broke, older ones are tested before use for this long.
const SUSPECT_FOR: Duration = Duration::from_mins(1);

/// When connections last turned out to be unusable: others of the same age may be so too.
#[derive(Debug, Default)]
pub(crate) struct StaleConnections {
    broken: LastTime,
    /// When the server was last found read-only: connections to it answer, but cannot write.
    read_only: LastTime,
}

impl StaleConnections {
    /// A connection broke.
    pub(crate) fn record_broken(&self) {
        self.broken.record();
    }

    /// The server turned out to be read-only.
    pub(crate) fn record_read_only(&self) {
        self.read_only.record();
    }

    /// Whether a connection of this age existed when another one broke, within the last minute.
    pub(crate) fn is_suspect(&self, age: Duration) -> bool {
        self.broken.elapsed().is_some_and(|since| since < SUSPECT_FOR && age > since)
    }

    /// Whether a connection of this age existed when the server turned out to be read-only.
    pub(crate) fn is_read_only(&self, age: Duration) -> bool {
        self.read_only.elapsed().is_some_and(|since| age > since)
    }
}
