//! Reads events at a pace that leaves the processors to a rush.
//!
//! To make and send the events of a purchase takes about as long as to sell it, and most of that in other processes: PostgreSQL,
//! Redis, the endpoint. A low priority of this thread does not reach them; reading less does. So in a rush the thread rests after its
//! work, for a time in proportion. What waits meanwhile is in the outbox, and follows as soon as the rush is over.
//!
//! It is a rush while sales go on in large batches and this thread waits for a processor for half as long as it uses one. Either alone is
//! not: batches are also large where commits are slow and processors idle, and a processor can be busy with something else. The batches
//! are this instance's own, and those of all instances as the outbox has them: a process that only delivers may share a machine with one
//! that sells.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::application::ports::{
    BatchTotals, Clock, EventBatch, EventLog, Pause, PortError, ProcessorTime, ProcessorTimes,
    SellingBatches,
};

/// Shortest stretch of work that is judged.
const STRETCH: Duration = Duration::from_millis(20);
/// A stretch without a batch goes on until one is known of, for as long: the outbox is looked at several times as often.
const LONGEST_STRETCH: Duration = Duration::from_millis(250);
/// Requests in a batch, on average, from which on it may be a rush. Below, a batch is committed before many requests have arrived.
const RUSH_BATCH: u64 = 24;
/// Rest after work, in times of the work: about a fortieth of a processor is used.
const REST: u32 = 40;
/// Longest rest: events move however long a rush lasts.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// Reads another log.
pub struct PacedLog {
    ports: PacedLogPorts,
    pace: Mutex<Pace>,
}

/// The ports of [`PacedLog`].
pub struct PacedLogPorts {
    /// What is read.
    pub log: Arc<dyn EventLog>,
    /// Those who know of batches.
    pub batches: Vec<Arc<dyn SellingBatches>>,
    /// The processor time of the thread that reads and delivers.
    pub times: Arc<dyn ProcessorTimes>,
    /// This process's clock.
    pub clock: Arc<dyn Clock>,
    /// Rests.
    pub pause: Arc<dyn Pause>,
}

/// The stretch of work that is under way.
#[derive(Default)]
struct Pace {
    began_at: Duration,
    began: Measured,
    /// Nothing is read before this time.
    rests_until: Duration,
}

/// What a stretch is judged by.
#[derive(Clone, Copy, Default)]
struct Measured {
    time: Option<ProcessorTime>,
    batches: BatchTotals,
}

impl PacedLog {
    /// Creates the log on these ports.
    #[must_use]
    pub fn new(ports: PacedLogPorts) -> Self {
        Self { ports, pace: Mutex::default() }
    }

    /// Rests if it is time to.
    async fn rest(&self) {
        let now = self.ports.clock.monotonic();
        let rest = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            if now >= pace.rests_until && now >= pace.began_at + STRETCH {
                let PacedLogPorts { batches, times, .. } = &self.ports;
                let batches = batches.iter().map(|some| some.totals());
                let batches = batches.fold(BatchTotals::default(), |sum, some| BatchTotals {
                    requests: sum.requests + some.requests,
                    batches: sum.batches + some.batches,
                });
                if batches != pace.began.batches || now >= pace.began_at + LONGEST_STRETCH {
                    pace.judge(Measured { time: times.of_this_thread(), batches }, now);
                }
            }
            pace.rests_until.saturating_sub(now)
        };
        if !rest.is_zero() {
            self.ports.pause.pause(rest).await;
        }
    }
}

impl Pace {
    /// Ends a stretch of work, and begins the next one after the rest that it needs.
    fn judge(&mut self, measured: Measured, now: Duration) {
        let rest = self.began.work_in_a_rush(&measured).map_or(Duration::ZERO, |work| work * REST);
        self.rests_until = now + rest.min(LONGEST_REST);
        self.began_at = now;
        self.began = measured;
    }
}

impl Measured {
    /// The processor time since then, if there was a rush.
    fn work_in_a_rush(&self, later: &Self) -> Option<Duration> {
        let batches = later.batches.batches.saturating_sub(self.batches.batches);
        let requests = later.batches.requests.saturating_sub(self.batches.requests);
        let (began, ended) = (self.time?, later.time?);
        let used = ended.used.saturating_sub(began.used);
        let waited = ended.waited.saturating_sub(began.waited);
        (batches > 0 && requests >= batches * RUSH_BATCH && waited * 2 > used).then_some(used)
    }
}

#[async_trait]
impl EventLog for PacedLog {
    async fn read(&self, after: i64, at_least: usize) -> Result<Vec<EventBatch>, PortError> {
        self.rest().await;
        self.ports.log.read(after, at_least).await
    }

    async fn end(&self) -> Result<i64, PortError> {
        self.ports.log.end().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::application::ports::{
        MockEventLog, MockPause, MockProcessorTimes, MockSellingBatches,
    };
    use crate::testing::builders::at;
    use crate::testing::fakes::FakeClock;

    const MS: Duration = Duration::from_millis(1);

    /// A sample of work: how many milliseconds it used and waited for a processor, and the requests in ten batches meanwhile, if any.
    type WorkSample = (u32, u32, u64);

    /// The rests of a reader that reads after each of these.
    async fn rests(samples: &[WorkSample]) -> Vec<Duration> {
        let clock = FakeClock::at(at(0));
        let measured = Arc::new(Mutex::new((ProcessorTime::default(), BatchTotals::default())));
        let mut times = MockProcessorTimes::new();
        let now = Arc::clone(&measured);
        times.expect_of_this_thread().returning(move || Some(now.lock().unwrap().0));
        let mut batches = MockSellingBatches::new();
        let now = Arc::clone(&measured);
        batches.expect_totals().returning(move || now.lock().unwrap().1);
        let rests = Arc::new(Mutex::new(Vec::new()));
        let mut pause = MockPause::new();
        let (rested, advanced) = (Arc::clone(&rests), Arc::clone(&clock));
        pause.expect_pause().returning(move |rest| {
            rested.lock().unwrap().push(rest);
            advanced.advance(rest);
        });
        let mut log = MockEventLog::new();
        log.expect_read().returning(|_, _| Ok(Vec::new()));
        let log = PacedLog::new(PacedLogPorts {
            log: Arc::new(log),
            batches: vec![Arc::new(batches)],
            times: Arc::new(times),
            clock: Arc::<FakeClock>::clone(&clock),
            pause: Arc::new(pause),
        });
        clock.advance(STRETCH);
        log.read(0, 1).await.unwrap();
        for (used, waited, requests) in samples {
            clock.advance(STRETCH);
            {
                let mut measured = measured.lock().unwrap();
                measured.0.used += MS * *used;
                measured.0.waited += MS * *waited;
                measured.1.requests += requests;
                measured.1.batches += if *requests == 0 { 0 } else { 10 };
            }
            log.read(0, 1).await.unwrap();
        }
        let rests = rests.lock().unwrap();
        rests.clone()
    }

    #[tokio::test]
    async fn in_a_rush_work_is_followed_by_a_rest_that_is_bounded() {
        let rush = [(4, 16, 240), (12, 13, 900), (0, 20, 900)];

        assert_eq!(rests(&rush).await, [MS * 160, MS * 480]);
        assert_eq!(rests(&[(50, 60, 240)]).await, [LONGEST_REST]);
    }

    #[tokio::test]
    async fn work_is_judged_when_there_is_a_batch_to_judge_it_by_or_after_a_while() {
        assert_eq!(rests(&[(4, 16, 0), (3, 16, 240), (4, 16, 240)]).await, [MS * 280, MS * 160]);

        let while_nothing_was_sold = vec![(4, 16, 0); 13];
        assert!(rests(&[&while_nothing_was_sold[..], &[(1, 0, 240)]].concat()).await.is_empty());
    }

    #[tokio::test]
    async fn small_batches_or_idle_processors_are_no_rush() {
        assert!(rests(&[(4, 16, 239), (4, 2, 900), (16, 4, 900), (4, 16, 0)]).await.is_empty());
    }

    #[tokio::test]
    async fn a_stretch_is_judged_once() {
        let (mut times, mut batches) = (MockProcessorTimes::new(), MockSellingBatches::new());
        times.expect_of_this_thread().times(1).return_const(None);
        batches.expect_totals().times(1).return_const(BatchTotals::default());
        let mut log = MockEventLog::new();
        log.expect_read().times(3).returning(|_, _| Ok(Vec::new()));
        let log = PacedLog::new(PacedLogPorts {
            log: Arc::new(log),
            batches: vec![Arc::new(batches)],
            times: Arc::new(times),
            clock: FakeClock::at(at(0)),
            pause: Arc::new(MockPause::new()),
        });

        for _ in 0..3 {
            log.read(0, 1).await.unwrap();
        }
    }
}
