//! How many may wait for a batch: as many as will be served within the wait that callers bear, going by the batches before.
//!
//! A queue that takes whoever comes serves everybody late under overload, until nobody gets an answer that is still wanted.
//! Who cannot be served in time is told so at once and may ask again (load shedding by expected wait).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::BatchLimits;

/// Batches that may always wait: below that nothing is known of the pace.
const BATCHES_AT_LEAST: usize = 2;

/// The room of one lane.
pub(crate) struct Room {
    limits: BatchLimits,
    places: AtomicUsize,
    /// Time that a request takes, in nanoseconds: a moving average; 0 is unknown.
    pace: AtomicU64,
}

impl Room {
    /// As much as the queue holds, until something is known.
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self { limits, places: AtomicUsize::new(limits.queue), pace: AtomicU64::new(0) }
    }

    /// Whether one more may wait.
    pub(crate) fn takes(&self, waiting: usize) -> bool {
        waiting < self.places.load(Ordering::Relaxed)
    }

    /// Takes in what a batch took. A small batch tells what a transaction costs, not what the lane can serve.
    pub(crate) fn served(&self, requests: usize, took: Duration) {
        if requests < self.limits.size.div_ceil(2) {
            return;
        }
        let among = u64::try_from(requests * self.limits.writers).unwrap_or(u64::MAX).max(1);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (each, before) = ((took / among).max(1), self.pace.load(Ordering::Relaxed));
        let pace = if before == 0 { each } else { before.midpoint(each) };
        self.pace.store(pace, Ordering::Relaxed);
        let wait = u64::try_from(self.limits.wait_limit.as_nanos()).unwrap_or(u64::MAX);
        let in_time = usize::try_from(wait / pace).unwrap_or(usize::MAX);
        let places = in_time.max(BATCHES_AT_LEAST * self.limits.size).min(self.limits.queue);
        self.places.store(places, Ordering::Relaxed);
    }

    /// Nobody waited for a while: what was known is old.
    pub(crate) fn rested(&self) {
        self.pace.store(0, Ordering::Relaxed);
        self.places.store(self.limits.queue, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn room() -> Room {
        Room::new(BatchLimits {
            size: 10,
            writers: 1,
            queue: 1_000,
            queue_timeout: SECOND * 3,
            wait_limit: SECOND,
        })
    }

    #[test]
    fn the_room_is_what_is_served_within_the_wait() {
        let room = room();
        assert!(room.takes(999) && !room.takes(1_000));

        room.served(10, SECOND / 10);
        assert!(room.takes(99) && !room.takes(100));

        // The pace doubles: the average follows.
        for _ in 0..20 {
            room.served(10, SECOND / 20);
        }
        assert!(room.takes(190));
    }

    #[test]
    fn two_batches_may_always_wait_and_never_more_than_the_queue() {
        let room = room();

        room.served(10, SECOND * 60);
        assert!(room.takes(19) && !room.takes(20));

        for _ in 0..80 {
            room.served(10, Duration::ZERO);
        }
        assert!(room.takes(999) && !room.takes(1_000));
    }

    #[test]
    fn small_batches_tell_nothing_and_rest_makes_room() {
        let room = room();
        room.served(4, SECOND * 60);
        assert!(room.takes(999));

        room.served(10, SECOND * 60);
        room.rested();

        assert!(room.takes(999));
    }
}
