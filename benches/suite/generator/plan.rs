//! The plan of a run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Where requests go, over how many connections, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Addresses of the instances; connections are assigned to them in turn.
    pub(crate) targets: Vec<SocketAddr>,
    /// Number of connections.
    pub(crate) connections: usize,
    /// Time at the start that does not count.
    pub(crate) warm_up: Duration,
    /// Time that counts; the traffic may end sooner.
    pub(crate) measured: Duration,
}

/// The part of a run that counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// Called by every thread of the generator when its load begins, with the part of the run that will count.
pub(crate) type OnStart<'a> = &'a (dyn Fn(Window) + Sync);

impl Plan {
    /// The part of a run that counts, for a run that starts at this time.
    pub(super) fn window(&self, start: Instant) -> Window {
        let from = start + self.warm_up;
        Window { from, to: from + self.measured }
    }
}
