//! One queue for everything that needs a connection, and how long it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The measured pace is forgotten when no caller has waited for this time.
const FORGET_AFTER: Duration = Duration::from_secs(1);
/// The weight of one measurement in the moving average is 1 in this many. Several connections come back almost at once and the
/// next ones a whole transaction later, so the average spans more than one such round.
const SMOOTHING: u64 = 16;

/// As many turns as connections. Callers get them in order of arrival.
#[derive(Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    count: usize,
    waiting: AtomicUsize,
    pace: Pace,
}

/// The right to hold one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// How fast turns come free while callers wait for them.
#[derive(Debug)]
struct Pace {
    origin: Instant,
    /// When a caller that had waited last got its turn, in nanoseconds since the origin.
    last: AtomicU64,
    /// Nanoseconds between two such turns: a moving average; 0 is unknown.
    interval: AtomicU64,
}

impl Turns {
    pub(super) fn new(count: u32) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX).max(1);
        Self {
            free: Arc::new(Semaphore::new(count)),
            count,
            waiting: AtomicUsize::new(0),
            pace: Pace::new(),
        }
    }

    /// Waits for a turn, up to the limit; `None` if there was none in time.
    pub(super) async fn next(&self, limit: Duration) -> Option<Turn> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(Turn { _permit: permit });
        }
        let since = Instant::now();
        let _waiting = Waiting::of(self);
        let acquired = tokio::time::timeout(limit, Arc::clone(&self.free).acquire_owned()).await;
        // The semaphore is never closed.
        let permit = acquired.ok()?.ok()?;
        self.pace.record(since);
        Some(Turn { _permit: permit })
    }

    /// Number of callers that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How long one more caller would wait: a turn's interval for each caller before it. As many as there are connections may
    /// always wait: that is one transaction's time, however long it is.
    pub(super) fn expected_wait(&self) -> Duration {
        let waiting = self.waiting();
        if waiting < self.count {
            return Duration::ZERO;
        }
        self.pace.interval() * u32::try_from(waiting).unwrap_or(u32::MAX)
    }
}

impl Pace {
    fn new() -> Self {
        Self { origin: Instant::now(), last: AtomicU64::new(0), interval: AtomicU64::new(0) }
    }

    /// A caller that waited since then has got its turn.
    fn record(&self, since: Instant) {
        let now = nanos(self.origin.elapsed());
        let passed = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        // If the queue was empty before, the turn before came free before this caller waited.
        let interval = passed.min(nanos(since.elapsed())).max(1);
        let before = self.interval.load(Ordering::Relaxed);
        let average = if before == 0 || passed > nanos(FORGET_AFTER) {
            interval
        } else {
            before - before / SMOOTHING + interval / SMOOTHING
        };
        self.interval.store(average, Ordering::Relaxed);
    }

    fn interval(&self) -> Duration {
        let last = Duration::from_nanos(self.last.load(Ordering::Relaxed));
        if self.origin.elapsed().saturating_sub(last) > FORGET_AFTER {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.interval.load(Ordering::Relaxed))
    }
}

/// Counts a caller while it waits.
struct Waiting<'t>(&'t AtomicUsize);

impl<'t> Waiting<'t> {
    fn of(turns: &'t Turns) -> Self {
        turns.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&turns.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join_all, poll_immediate};

    use super::*;

    const LIMIT: Duration = Duration::from_mins(5);
    const INTERVAL: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn turns_are_given_in_order_of_arrival_and_waiting_is_counted() {
        let turns = Turns::new(1);
        let held = turns.next(LIMIT).await;
        let (mut first, mut second) = (Box::pin(turns.next(LIMIT)), Box::pin(turns.next(LIMIT)));
        assert!(poll_immediate(&mut first).await.is_none());
        assert!(poll_immediate(&mut second).await.is_none());
        assert_eq!(turns.waiting(), 2);

        drop(held);

        assert!(poll_immediate(&mut second).await.is_none());
        let got = poll_immediate(&mut first).await;
        assert!(got.is_some_and(|turn| turn.is_some()));
        drop(second);
        assert_eq!(turns.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_expected_wait_grows_with_the_queue_and_a_round_may_always_wait() {
        let turns = Turns::new(2);
        let mut held = vec![turns.next(LIMIT).await, turns.next(LIMIT).await];
        let (first, ()) = tokio::join!(turns.next(LIMIT), async {
            tokio::time::advance(INTERVAL).await;
            held.pop();
        });
        let mut waiting = vec![Box::pin(turns.next(LIMIT))];
        join_all(waiting.iter_mut().map(poll_immediate)).await;
        assert_eq!(turns.expected_wait(), Duration::ZERO);

        waiting.extend([Box::pin(turns.next(LIMIT)), Box::pin(turns.next(LIMIT))]);
        join_all(waiting.iter_mut().map(poll_immediate)).await;

        assert_eq!(turns.expected_wait(), INTERVAL * 3);
        tokio::time::advance(FORGET_AFTER * 2).await;
        assert_eq!(turns.expected_wait(), Duration::ZERO);
        drop((waiting, first));
        assert_eq!(turns.expected_wait(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn no_caller_waits_beyond_the_limit() {
        let turns = Turns::new(1);
        let _held = turns.next(LIMIT).await;

        assert!(turns.next(LIMIT).await.is_none());
        assert_eq!(turns.waiting(), 0);
    }
}
