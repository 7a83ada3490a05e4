//! What the attempts of a worker share, and how their ends are recorded and reported.

use std::sync::Arc;
use std::time::Duration;

use riverqueue::JobRow;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::ahead::Turns;
use super::metrics::JobMetrics;
use crate::application::jobs::lease::Lease;
use crate::application::ports::{
    AttemptEnd, Causes, EndedAttempt, ScheduleRuns, TakenOver, WorkerJobs,
};
use crate::domain::job::{JobId, ScheduleName, backoff};

/// Pause before the end of an attempt is recorded again after PostgreSQL was away.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// For so long after its cancellation an attempt tries to record its end. River aborts it after two seconds.
const RECORD_WITHIN: Duration = Duration::from_secs(1);
/// Longest error on record, in bytes.
const MAX_ERROR_BYTES: usize = 2_000;

/// What all attempts of a worker share.
pub(crate) struct Desk {
    pub(crate) worker: String,
    pub(crate) jobs: Arc<dyn WorkerJobs>,
    pub(crate) schedules: Arc<dyn ScheduleRuns>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) metrics: Arc<JobMetrics>,
    pub(crate) timeout: Duration,
    /// Of the jobs that share the slots of `jobs.workers`.
    pub(crate) turns: Turns,
    /// Ends that may be recorded at a time.
    pub(crate) records: Semaphore,
}

/// An attempt that River has begun.
pub(super) struct Attempt<'a> {
    pub(super) job_type: &'static str,
    pub(super) row: &'a JobRow,
    /// River cancels the attempt: the worker stops, or its time and the margin are over.
    pub(super) stop: &'a CancellationToken,
}

/// Whether the end of an attempt is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// The job waits again, or is dead.
    Yes,
    /// The job is another worker's, or runs another attempt: nothing has changed.
    NotOurs,
    /// PostgreSQL was away until the attempt was cancelled.
    Unknown,
}

impl Desk {
    /// Records a failed attempt, and reports it if the job is still this worker's.
    pub(super) async fn record(
        &self,
        attempt: &Attempt<'_>,
        error: &str,
        may_retry: bool,
    ) -> Recorded {
        let &Attempt { job_type, row, .. } = attempt;
        let Some(id) = JobId::new(row.id) else { return Recorded::NotOurs };
        let number = number_of(row);
        let has_more = i32::from(number) < row.max_attempts;
        let retry_in = (may_retry && has_more).then(|| backoff(id, number));
        let error = bounded(error);
        let end = AttemptEnd::Failed { error: error.clone(), retry_in };
        let recorded = self.end(attempt, end).await;
        if recorded == Recorded::NotOurs {
            return recorded;
        }
        match retry_in {
            None => {
                tracing::error!(job = row.id, job_type, attempt = number, error, "a job is dead");
            }
            Some(_) if number == 1 => {
                tracing::warn!(job = row.id, job_type, error, "a job failed and is retried");
            }
            Some(_) => {
                let attempt = number;
                tracing::debug!(job = row.id, job_type, attempt, error, "a job failed again");
            }
        }
        self.report(row, if retry_in.is_some() { "failed" } else { "dead" }).await;
        recorded
    }

    /// Ends an attempt by PostgreSQL's clock, if the job is still this worker's. While PostgreSQL is away it tries again: River's own
    /// record asks for no worker, and goes by the clock of this machine.
    pub(super) async fn end(&self, attempt: &Attempt<'_>, end: AttemptEnd) -> Recorded {
        let &Attempt { job_type, row, stop } = attempt;
        let Some(id) = JobId::new(row.id) else { return Recorded::NotOurs };
        let ended = EndedAttempt { id, attempt: number_of(row), worker: self.worker.clone(), end };
        tokio::select! {
            biased;
            is_ours = self.ended(&ended) => {
                if is_ours {
                    return Recorded::Yes;
                }
                tracing::warn!(job = row.id, job_type, "a job is another worker's now");
                Recorded::NotOurs
            }
            () = over(stop) => Recorded::Unknown,
        }
    }

    async fn ended(&self, ended: &EndedAttempt) -> bool {
        loop {
            // Not while it waits to try again: others have their turn.
            let turn = self.records.acquire().await;
            let result = self.jobs.end(ended).await;
            drop(turn);
            match result {
                Ok(is_ours) => return is_ours,
                Err(error) => {
                    let (job, error) = (ended.id.get(), Causes(&error));
                    tracing::debug!(job, %error, "the end of an attempt is not recorded yet");
                }
            }
            tokio::time::sleep(RECORD_AGAIN_AFTER).await;
        }
    }

    /// Reports a job whose worker died in its last attempt. The take-over has told its schedule: a thousand calls would keep the lease
    /// waiting.
    pub(super) fn died(&self, job: &TakenOver) {
        let TakenOver { id, job_type, attempt, worker, .. } = job;
        let error = format!("its worker {worker} died");
        tracing::error!(job = id.get(), job_type, attempt, error, "a job is dead");
        if let Some(schedule) = &job.schedule {
            self.metrics.schedule_ran(schedule, "dead", 1);
        }
    }

    /// Tells the job's schedule, if it has one, what became of it.
    pub(super) async fn report(&self, row: &JobRow, outcome: &'static str) {
        let name = row.metadata.get::<String>("schedule").ok().flatten();
        let name = name.as_deref().and_then(ScheduleName::parse);
        let (Some(name), Some(id)) = (name, JobId::new(row.id)) else { return };
        self.metrics.schedule_ran(&name, outcome, 1);
        if let Err(error) = self.schedules.finished(&name, id, outcome).await {
            tracing::debug!(job = row.id, error = %Causes(&error), "an outcome is not recorded");
        }
    }
}

/// The number of an attempt, from 1.
pub(super) fn number_of(row: &JobRow) -> u16 {
    u16::try_from(row.attempt).unwrap_or(u16::MAX)
}

/// Returns when an attempt has been cancelled for too long to record anything more.
async fn over(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(RECORD_WITHIN).await;
}

/// What PostgreSQL stores: not too long, and without NUL.
fn bounded(error: &str) -> String {
    let mut end = MAX_ERROR_BYTES.min(error.len());
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures_util::future::join_all;
    use prometheus::Registry;
    use riverqueue::jiff::Timestamp;
    use serde_json::value::RawValue;

    use super::*;
    use crate::application::ports::{MockScheduleRuns, MockWorkerJobs, PortError};
    use crate::testing::builders::{at, unavailable};
    use crate::testing::fakes::FakeClock;

    /// A desk whose records have these results, one after the other; then PostgreSQL is away.
    fn desk(results: Vec<Result<bool, PortError>>) -> Desk {
        let results = Mutex::new(results.into_iter());
        let mut jobs = MockWorkerJobs::new();
        jobs.expect_end()
            .returning(move |_| results.lock().unwrap().next().unwrap_or(Err(unavailable())));
        desk_on(Arc::new(jobs))
    }

    fn desk_on(jobs: Arc<dyn WorkerJobs>) -> Desk {
        Desk {
            worker: "w".to_owned(),
            jobs,
            schedules: Arc::new(MockScheduleRuns::new()),
            lease: Arc::new(Lease::new(FakeClock::at(at(0)))),
            metrics: Arc::new(JobMetrics::register(&Registry::new()).unwrap()),
            timeout: Duration::from_mins(1),
            turns: Turns::of(1),
            records: Semaphore::new(2),
        }
    }

    fn a_row() -> JobRow {
        let args = RawValue::from_string("{}".to_owned()).unwrap();
        JobRow::new(1, "noop", args, Timestamp::UNIX_EPOCH)
    }

    async fn ends(desk: &Desk, row: &JobRow, stop: &CancellationToken) -> Recorded {
        let attempt = Attempt { job_type: "noop", row, stop };
        desk.end(&attempt, AttemptEnd::GivenBack { rests: Duration::ZERO }).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_recorded_when_postgresql_is_back_or_known_to_be_of_another_worker() {
        let (row, never) = (a_row(), CancellationToken::new());
        let away = || Err(unavailable());
        let back = desk(vec![away(), away(), Ok(true)]);
        let taken = desk(vec![away(), Ok(false)]);

        assert_eq!(ends(&back, &row, &never).await, Recorded::Yes);
        assert_eq!(ends(&taken, &row, &never).await, Recorded::NotOurs);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_cannot_be_recorded_is_left_to_river_when_the_attempt_is_cancelled() {
        let (row, stop, desk) = (a_row(), CancellationToken::new(), desk(vec![]));
        let mut end = Box::pin(ends(&desk, &row, &stop));

        tokio::select! {
            _ = &mut end => panic!("it gave up"),
            () = tokio::time::sleep(Duration::from_mins(10)) => {}
        }
        stop.cancel();

        assert_eq!(end.await, Recorded::Unknown);
    }

    /// Records ends, each within a second, and knows how many there were at most at a time.
    #[derive(Default)]
    struct SlowJobs {
        now: AtomicUsize,
        most: AtomicUsize,
        all: AtomicUsize,
    }

    #[async_trait]
    impl WorkerJobs for SlowJobs {
        async fn renew(&self, _: &str) -> Result<(), PortError> {
            Ok(())
        }

        async fn release(&self, _: &str) -> Result<(), PortError> {
            Ok(())
        }

        async fn take_over(&self, _: Duration) -> Result<Vec<TakenOver>, PortError> {
            Ok(Vec::new())
        }

        async fn promote(&self) -> Result<u64, PortError> {
            Ok(0)
        }

        async fn end(&self, _: &EndedAttempt) -> Result<bool, PortError> {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.now.fetch_sub(1, Ordering::Relaxed);
            self.all.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_that_end_together_are_recorded_a_few_at_a_time() {
        let jobs = Arc::new(SlowJobs::default());
        let desk = desk_on(Arc::<SlowJobs>::clone(&jobs));
        let (row, never) = (a_row(), CancellationToken::new());

        join_all((0..20).map(|_| ends(&desk, &row, &never))).await;

        let counted = [&jobs.most, &jobs.all].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counted, [2, 20]);
    }

    #[test]
    fn an_error_on_record_is_short_and_without_what_postgresql_does_not_store() {
        let long = format!("a\0{}", "é".repeat(2_000));

        let short = bounded(&long);

        assert!(short.len() <= MAX_ERROR_BYTES + 2 && short.starts_with("a\u{fffd}é"), "{short}");
    }
}
