//! What the attempts of a worker share, and how their ends are recorded and reported.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::metrics::JobMetrics;
use crate::application::jobs::lease::Lease;
use crate::application::ports::{
    Causes, ClaimedJob, FailedAttempt, JobAttempts, JobClaim, PortError, ScheduleRuns, TakenOver,
};
use crate::config::Setting;
use crate::domain::job::{JobId, backoff};

/// Pause before the end of an attempt is recorded again after PostgreSQL was away.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// For so long after the last attempt has ended its end is tried to be recorded.
const RECORD_WITHIN: Duration = Duration::from_secs(1);
/// Ends other than success that are recorded at a time, and claims that are given back: a thousand may end together, and the renewal of
/// the lease must not wait behind them.
pub(crate) const RECORDS: usize = 2;
/// Maximum number of successes that one statement records. As many wait before a job that is done has to.
const SUCCESSES: usize = 5_000;
/// Longest error on record, in bytes.
const MAX_ERROR_BYTES: usize = 2_000;

/// A worker.
pub(crate) struct JobWorker {
    pub(super) name: String,
    pub(super) attempts: Arc<dyn JobAttempts>,
    pub(super) lease: Arc<Lease>,
    pub(super) metrics: Arc<JobMetrics>,
    /// Longest time of an attempt, unless its type has another one.
    pub(super) timeout: Setting<Duration>,
    /// The worker stops, and running jobs have had the time to finish.
    pub(super) cancelled: CancellationToken,
    schedules: Arc<dyn ScheduleRuns>,
    /// Jobs that were claimed and whose end is not on record.
    held: Mutex<HashSet<JobId>>,
    records: Semaphore,
    succeeded: mpsc::Sender<JobId>,
}

/// What a worker calls.
pub(crate) struct WorkerPorts {
    pub(crate) attempts: Arc<dyn JobAttempts>,
    pub(crate) schedules: Arc<dyn ScheduleRuns>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) metrics: Arc<JobMetrics>,
}

/// Jobs that are done, and are not on record as such.
pub(crate) struct Successes(mpsc::Receiver<JobId>);

impl JobWorker {
    pub(crate) fn new(
        name: String,
        ports: WorkerPorts,
        timeout: Setting<Duration>,
    ) -> (Self, Successes) {
        let WorkerPorts { attempts, schedules, lease, metrics } = ports;
        let (succeeded, successes) = mpsc::channel(SUCCESSES);
        let worker = Self {
            name,
            attempts,
            lease,
            metrics,
            timeout,
            cancelled: CancellationToken::new(),
            schedules,
            held: Mutex::default(),
            records: Semaphore::new(RECORDS),
            succeeded,
        };
        (worker, Successes(successes))
    }

    /// These jobs have been claimed.
    pub(super) fn hold(&self, jobs: impl Iterator<Item = JobId>) {
        self.held().extend(jobs);
    }

    pub(super) fn holds(&self, job: JobId) -> bool {
        self.held().contains(&job)
    }

    fn held(&self) -> MutexGuard<'_, HashSet<JobId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job is done. A statement records it together with others.
    pub(super) async fn succeeded(&self, job: &ClaimedJob) {
        self.report(job, "succeeded").await;
        // It fails only if nothing is recorded any more.
        let _ = self.succeeded.send(job.claim.id).await;
    }

    /// Records jobs that are done until all have `ended`.
    pub(super) async fn record_successes(
        &self,
        Successes(receiver): &mut Successes,
        ended: &CancellationToken,
    ) {
        let mut jobs = Vec::with_capacity(SUCCESSES);
        loop {
            tokio::select! {
                biased;
                count = receiver.recv_many(&mut jobs, SUCCESSES) => {
                    if count == 0 {
                        return;
                    }
                }
                () = ended.cancelled() => return,
            }
            let record = recorded(|| self.attempts.succeed(&jobs));
            tokio::select! {
                biased;
                () = record => {}
                () = over(ended) => {
                    let jobs = jobs.len();
                    tracing::warn!(jobs, "jobs are done, and not on record as such: they run again");
                    return;
                }
            }
            let mut held = self.held();
            for job in jobs.drain(..) {
                held.remove(&job);
            }
        }
    }

    /// Records a failed attempt, and reports it if the job is still this worker's.
    pub(super) async fn failed(&self, job: &ClaimedJob, error: &str, may_retry: bool) {
        let &ClaimedJob { claim, attempt, max_attempts, ref job_type, .. } = job;
        let retry_in = (may_retry && attempt < max_attempts).then(|| backoff(claim.id, attempt));
        let failed = FailedAttempt { claim, error: bounded(error), retry_in };
        let is_ours = tokio::select! {
            biased;
            is_ours = self.in_turn(|| self.attempts.fail(&self.name, &failed)) => is_ours,
            () = over(&self.cancelled) => return,
        };
        self.held().remove(&claim.id);
        let (job_id, error) = (claim.id.get(), failed.error);
        if !is_ours {
            tracing::warn!(job = job_id, job_type, "a job is another worker's now");
            return;
        }
        match retry_in {
            None => {
                tracing::error!(job = job_id, job_type, attempt, error, "a job is dead");
            }
            Some(_) if attempt == 1 => {
                tracing::warn!(job = job_id, job_type, error, "a job failed and is retried");
            }
            Some(_) => {
                tracing::debug!(job = job_id, job_type, attempt, error, "a job failed again");
            }
        }
        self.report(job, if retry_in.is_some() { "failed" } else { "dead" }).await;
    }

    /// Gives jobs back: others may run them.
    pub(super) async fn give_back(&self, claims: &[JobClaim]) {
        if claims.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            () = self.in_turn(|| self.attempts.give_back(&self.name, claims)) => {}
            () = over(&self.cancelled) => return,
        }
        let mut held = self.held();
        for claim in claims {
            held.remove(&claim.id);
        }
    }

    /// Records an end other than success, in turn with others.
    async fn in_turn<T, F>(&self, mut record: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, PortError>>,
    {
        recorded(|| {
            let record = record();
            async {
                let _turn = self.records.acquire().await;
                record.await
            }
        })
        .await
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
    async fn report(&self, job: &ClaimedJob, outcome: &'static str) {
        let Some(name) = &job.schedule else { return };
        self.metrics.schedule_ran(name, outcome, 1);
        if let Err(error) = self.schedules.finished(name, job.claim.id, outcome).await {
            let (job, error) = (job.claim.id.get(), Causes(&error));
            tracing::debug!(job, %error, "an outcome is not recorded");
        }
    }
}

/// Tries again while PostgreSQL is away.
async fn recorded<T, F>(mut record: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, PortError>>,
{
    loop {
        match record().await {
            Ok(result) => return result,
            Err(error) => {
                let error = Causes(&error);
                tracing::debug!(%error, "the end of an attempt is not recorded yet");
            }
        }
        tokio::time::sleep(RECORD_AGAIN_AFTER).await;
    }
}

/// Returns some time after the token was cancelled.
async fn over(token: &CancellationToken) {
    token.cancelled().await;
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
    use std::sync::atomic::Ordering;

    use futures_util::future::join_all;

    use super::*;
    use crate::application::ports::Wanted;
    use crate::infrastructure::jobs::fake_attempts::{FakeAttempts, State, a_worker};

    /// Claims all jobs.
    async fn claimed(worker: &JobWorker) -> Vec<ClaimedJob> {
        let wanted = Wanted { queue: "default", job_types: &["noop"], at_most: 1_000 };
        let jobs = worker.attempts.claim("w", wanted).await.unwrap();
        worker.hold(jobs.iter().map(|job| job.claim.id));
        jobs
    }

    #[tokio::test(start_paused = true)]
    async fn ends_are_recorded_when_postgresql_is_back() {
        let attempts = Arc::new(FakeAttempts::waiting(3));
        let (worker, mut successes, _) = a_worker(&attempts, true);
        let jobs = claimed(&worker).await;
        let third = [jobs[2].claim];
        let ended = CancellationToken::new();
        attempts.is_away.store(true, Ordering::Relaxed);

        tokio::join!(
            worker.record_successes(&mut successes, &ended),
            worker.failed(&jobs[1], "no luck", true),
            worker.give_back(&third),
            async {
                worker.succeeded(&jobs[0]).await;
                tokio::time::sleep(Duration::from_mins(10)).await;
                assert_eq!(attempts.states(), [const { State::Running }; 3]);
                assert!(jobs.iter().all(|job| worker.holds(job.claim.id)));
                attempts.is_away.store(false, Ordering::Relaxed);
                tokio::time::sleep(2 * RECORD_AGAIN_AFTER).await;
                ended.cancel();
            }
        );

        let failed = State::Failed("no luck".to_owned());
        assert_eq!(attempts.states(), [State::Done, failed, State::Waiting]);
        assert!(!jobs.iter().any(|job| worker.holds(job.claim.id)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stops_waits_only_a_moment_for_postgresql() {
        let attempts = Arc::new(FakeAttempts::waiting(3));
        let (worker, mut successes, _) = a_worker(&attempts, true);
        let jobs = claimed(&worker).await;
        let third = [jobs[2].claim];
        let ended = CancellationToken::new();
        attempts.is_away.store(true, Ordering::Relaxed);
        worker.cancelled.cancel();
        worker.succeeded(&jobs[0]).await;
        let since = tokio::time::Instant::now();

        tokio::join!(worker.failed(&jobs[1], "no luck", true), worker.give_back(&third),);
        ended.cancel();
        worker.record_successes(&mut successes, &ended).await;

        assert_eq!(since.elapsed(), 2 * RECORD_WITHIN);
        assert_eq!(attempts.states(), [const { State::Running }; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn all_successes_are_recorded_before_the_worker_ends() {
        let attempts = Arc::new(FakeAttempts::waiting(1_000));
        let (worker, mut successes, _) = a_worker(&attempts, true);
        let ended = CancellationToken::new();
        for job in claimed(&worker).await {
            worker.succeeded(&job).await;
        }
        ended.cancel();

        worker.record_successes(&mut successes, &ended).await;

        assert!(attempts.states().iter().all(|state| *state == State::Done));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_another_workers_job_is_not_reported() {
        let attempts = Arc::new(FakeAttempts::waiting(1));
        let (worker, _, _) = a_worker(&attempts, true);
        let jobs = claimed(&worker).await;
        // The schedule of the job would be told otherwise: its port has no call to expect.
        let job = ClaimedJob {
            schedule: crate::domain::job::ScheduleName::parse("s"),
            ..jobs[0].clone()
        };
        attempts.is_anothers.store(true, Ordering::Relaxed);

        worker.failed(&job, "no luck", true).await;

        assert!(!worker.holds(job.claim.id));
        assert_eq!(attempts.states(), [State::Running]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_come_together_are_recorded_a_few_at_a_time() {
        let mut attempts = FakeAttempts::waiting(20);
        attempts.failures_take = Duration::from_secs(1);
        let attempts = Arc::new(attempts);
        let (worker, _, _) = a_worker(&attempts, true);
        let jobs = claimed(&worker).await;

        join_all(jobs.iter().map(|job| worker.failed(job, "no luck", true))).await;

        assert_eq!(attempts.most_at_a_time(), RECORDS);
        assert!(attempts.states().iter().all(|state| matches!(state, State::Failed(_))));
    }

    #[test]
    fn an_error_on_record_is_short_and_without_what_postgresql_does_not_store() {
        let long = format!("a\0{}", "é".repeat(2_000));

        let short = bounded(&long);

        assert!(short.len() <= MAX_ERROR_BYTES + 2 && short.starts_with("a\u{fffd}é"), "{short}");
    }
}
