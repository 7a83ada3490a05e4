//! A worker's lease: while it holds, no other worker takes its jobs.
//!
//! It is measured with the monotonic clock, from before the renewal was sent, and ends before the others believe that the worker is
//! dead. So a worker that has lost PostgreSQL stops its jobs before another one starts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::application::ports::Clock;

/// A worker that has not been seen for this time is dead: its jobs are taken over.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);
/// A worker gives its jobs up after this time without a renewal.
pub const GIVE_UP_AFTER: Duration = Duration::from_millis(2_500);

/// The lease of one worker.
pub struct Lease {
    clock: Arc<dyn Clock>,
    /// Milliseconds of the monotonic clock at the last renewal; 0 is never.
    renewed: AtomicU64,
}

impl Lease {
    /// A lease that has not begun.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, renewed: AtomicU64::new(0) }
    }

    /// Records a renewal that was sent at this time of the monotonic clock.
    pub fn renewed(&self, sent: Duration) {
        let milliseconds = u64::try_from(sent.as_millis()).unwrap_or(u64::MAX).max(1);
        self.renewed.fetch_max(milliseconds, Ordering::Relaxed);
    }

    /// For how long it still holds without another renewal; zero if it does not hold.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let renewed = self.renewed.load(Ordering::Relaxed);
        if renewed == 0 {
            return Duration::ZERO;
        }
        let ends = Duration::from_millis(renewed) + GIVE_UP_AFTER;
        ends.saturating_sub(self.clock.monotonic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::at;
    use crate::testing::fakes::FakeClock;

    #[test]
    fn a_lease_holds_from_its_renewal_until_before_others_take_the_jobs() {
        let clock = FakeClock::at(at(0));
        let lease = Lease::new(Arc::<FakeClock>::clone(&clock));
        assert_eq!(lease.remaining(), Duration::ZERO);

        clock.advance(Duration::from_secs(10));
        lease.renewed(clock.monotonic());

        assert_eq!(lease.remaining(), GIVE_UP_AFTER);
        clock.advance(GIVE_UP_AFTER);
        assert_eq!(lease.remaining(), Duration::ZERO);
        assert!(GIVE_UP_AFTER < DEAD_AFTER);
    }
}
