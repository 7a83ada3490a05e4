//! Which connections of the pool may be of no more use.

use std::time::Duration;

use super::last_time::LastTime;

/// After a connection broke, the others of its age are asked before they are used, for this long.
const SUSPICION_LASTS: Duration = Duration::from_mins(1);

/// When a connection broke last: others that are as old may be broken too.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    raised: LastTime,
    /// When a server turned out to be read-only: what is connected to it answers, and is of no use.
    condemned: LastTime,
}

impl Suspicion {
    /// A connection broke.
    pub(crate) fn raise(&self) {
        self.raised.note();
    }

    /// The server turned out to be read-only.
    pub(crate) fn condemn(&self) {
        self.condemned.note();
    }

    /// Whether a connection of this age was there already when another one broke, not long ago.
    pub(crate) fn falls_on(&self, age: Duration) -> bool {
        self.raised.elapsed().is_some_and(|since| since < SUSPICION_LASTS && age > since)
    }

    /// Whether a connection of this age was there already when the server turned out to be read-only.
    pub(crate) fn condemns(&self, age: Duration) -> bool {
        self.condemned.elapsed().is_some_and(|since| age > since)
    }
}
