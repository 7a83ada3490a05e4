//! How many requests may wait for a batch: as many as are served within the wait limit, judging by the previous batches.
//!
//! A queue that admits every request serves all of them late under overload, until no client still waits for its answer.
//! A request that cannot be served in time is rejected at once, and the client may retry (load shedding by expected wait).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::limits::BatchLimits;

/// Batches that may always wait, however slow the previous ones were.
const MIN_BATCHES: usize = 2;

/// The admission limit of one lane.
pub(crate) struct AdmissionLimit {
    limits: BatchLimits,
    /// Maximum number of waiting requests now.
    current: AtomicUsize,
    /// Nanoseconds that a request takes: a moving average; 0 is unknown.
    request_nanos: AtomicU64,
}

impl AdmissionLimit {
    /// The whole queue, until a batch was measured.
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self { limits, current: AtomicUsize::new(limits.queue), request_nanos: AtomicU64::new(0) }
    }

    /// Whether one more request may wait.
    pub(crate) fn admits(&self, waiting: usize) -> bool {
        waiting < self.current.load(Ordering::Relaxed)
    }

    /// Updates the limit after a batch. A batch smaller than half a full one is ignored: its time is mostly the fixed cost of
    /// a transaction and does not show how fast the lane can serve.
    pub(crate) fn record(&self, requests: usize, took: Duration) {
        if requests < self.limits.size.div_ceil(2) {
            return;
        }
        let served = u64::try_from(requests * self.limits.writers).unwrap_or(u64::MAX).max(1);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (each, before) = ((took / served).max(1), self.request_nanos.load(Ordering::Relaxed));
        let average = if before == 0 { each } else { before.midpoint(each) };
        self.request_nanos.store(average, Ordering::Relaxed);
        let wait = u64::try_from(self.limits.wait_limit.as_nanos()).unwrap_or(u64::MAX);
        let in_time = usize::try_from(wait / average).unwrap_or(usize::MAX);
        let current = in_time.max(MIN_BATCHES * self.limits.size).min(self.limits.queue);
        self.current.store(current, Ordering::Relaxed);
    }

    /// Forgets the measurements: the lane was idle, so they are old.
    pub(crate) fn reset(&self) {
        self.request_nanos.store(0, Ordering::Relaxed);
        self.current.store(self.limits.queue, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn admission() -> AdmissionLimit {
        AdmissionLimit::new(BatchLimits {
            size: 10,
            writers: 1,
            queue: 1_000,
            queue_timeout: SECOND * 3,
            wait_limit: SECOND,
        })
    }

    #[test]
    fn the_admission_limit_is_what_is_served_within_the_wait() {
        let admission = admission();
        assert!(admission.admits(999) && !admission.admits(1_000));

        admission.record(10, SECOND / 10);
        assert!(admission.admits(99) && !admission.admits(100));

        // Requests take half the time: the average follows.
        for _ in 0..20 {
            admission.record(10, SECOND / 20);
        }
        assert!(admission.admits(190));
    }

    #[test]
    fn two_batches_may_always_wait_and_never_more_than_the_queue() {
        let admission = admission();

        admission.record(10, SECOND * 60);
        assert!(admission.admits(19) && !admission.admits(20));

        for _ in 0..80 {
            admission.record(10, Duration::ZERO);
        }
        assert!(admission.admits(999) && !admission.admits(1_000));
    }

    #[test]
    fn small_batches_are_ignored_and_an_idle_lane_admits_a_whole_queue_again() {
        let admission = admission();
        admission.record(4, SECOND * 60);
        assert!(admission.admits(999));

        admission.record(10, SECOND * 60);
        admission.reset();

        assert!(admission.admits(999));
    }
}
