//! One attempt of a job, however it ends: it succeeds, fails, panics, takes too long, loses its lease or is given back.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use riverqueue::jiff::Timestamp;
use riverqueue::{
    BoxError, Job, JobArgs, WorkCancelled, WorkContext, WorkError, WorkOutcome, Worker,
    WorkerTimeout,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::ahead::{NoTurn, Turn};
use super::desk::{Attempt, Desk, Recorded, number_of};
use super::metrics::Outcome;
use super::types::payload::{Handler, InvalidPayload, JobError, Payload, decode};
use crate::application::jobs::lease::Lease;
use crate::application::ports::{AttemptEnd, Causes};
use crate::domain::job::{JobId, backoff};
use crate::infrastructure::traces::{Kind, Root};

/// River ends an attempt this long after its timeout, which begins with its turn. Only one that blocks its thread is still there: all
/// others are dropped.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(5);
/// How often a job that has just been claimed looks whether the lease has begun, and how long it waits in between: together less than
/// the time after which others take jobs over.
const LEASE_LOOKS: u32 = 40;
const LEASE_LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The mark of an end that River is not to write, because it is on record already or is not this worker's: `river_job` refuses it
/// (`migrations/0027_jobs_of_their_attempt.sql`).
const ENDED: &str = "ended";
/// A job that is given back waits so long before a worker claims it again. River records what became of it a moment later, asks only
/// whether it runs, and gives no other number to the next attempt: it must find the job at rest.
const GIVEN_BACK_RESTS: Duration = Duration::from_secs(1);

/// A job's arguments: its payload, and the version of that.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Envelope<P> {
    #[serde(default)]
    version: Option<u32>,
    #[serde(default)]
    payload: Value,
    #[serde(skip)]
    of: PhantomData<fn() -> P>,
}

impl<P: Payload> JobArgs for Envelope<P> {
    const KIND: &'static str = P::NAME;
}

/// Runs the jobs of a type, under River.
pub(super) struct TypeWorker<P: Payload> {
    pub(super) handler: Arc<dyn Handler<P>>,
    pub(super) desk: Arc<Desk>,
}

/// How an attempt ended, and whether another one may help.
struct End {
    outcome: Outcome,
    error: String,
    may_retry: bool,
}

impl End {
    fn new(outcome: Outcome, error: impl Into<String>) -> Self {
        Self { outcome, error: error.into(), may_retry: true }
    }

    fn stopped() -> Self {
        Self::new(Outcome::GivenBack, "the worker stops")
    }

    fn for_good(error: impl Into<String>) -> Self {
        Self { may_retry: false, ..Self::new(Outcome::Failed, error) }
    }
}

impl<P: Payload> Worker<Envelope<P>> for TypeWorker<P> {
    type Error = BoxError;

    /// Used only where the failure could not be recorded.
    fn next_retry(&self, job: &Job<Envelope<P>>, _: &WorkError, _: Timestamp) -> Option<Duration> {
        Some(backoff(JobId::new(job.row.id)?, number_of(&job.row)))
    }

    fn timeout(&self, _: &Job<Envelope<P>>) -> WorkerTimeout {
        WorkerTimeout::After(self.limit() + TIMEOUT_MARGIN)
    }

    async fn work(
        &self,
        context: WorkContext,
        job: Job<Envelope<P>>,
    ) -> Result<WorkOutcome, BoxError> {
        let Job { args, row, .. } = job;
        let stop = context.cancellation_token();
        let (end, took) = self.in_turn(stop, args).await;
        let outcome = end.as_ref().map_or_else(|end| end.outcome, |()| Outcome::Succeeded);
        self.desk.metrics.ran(P::NAME, outcome, took);
        let attempt = Attempt { job_type: P::NAME, row: &row, stop };
        // What River does where the end could not be recorded: the same, by its own clock.
        let (recorded, by_river) = match end {
            Ok(()) => {
                self.desk.report(&row, "succeeded").await;
                return Ok(WorkOutcome::Complete);
            }
            Err(End { outcome: Outcome::NoSlot, .. }) => {
                let end = AttemptEnd::GivenBack { rests: GIVEN_BACK_RESTS };
                (self.desk.end(&attempt, end).await, Ok(WorkOutcome::Snooze(GIVEN_BACK_RESTS)))
            }
            Err(End { outcome: Outcome::GivenBack, .. }) => {
                let end = AttemptEnd::GivenBack { rests: GIVEN_BACK_RESTS };
                (self.desk.end(&attempt, end).await, Err(WorkCancelled.into()))
            }
            Err(end) => {
                let recorded = self.desk.record(&attempt, &end.error, end.may_retry).await;
                (recorded, Err(end.error.into()))
            }
        };
        if recorded != Recorded::Unknown {
            context.metadata_set(ENDED, true)?;
        }
        by_river
    }
}

impl<P: Payload> TypeWorker<P> {
    fn limit(&self) -> Duration {
        P::LIMITS.timeout.unwrap_or(self.desk.timeout)
    }

    /// Waits for a slot, and runs the job. Returns how long it ran; `None` if it got no slot.
    async fn in_turn(
        &self,
        stop: &CancellationToken,
        args: Envelope<P>,
    ) -> (Result<(), End>, Option<Duration>) {
        let turn = match self.turn(stop).await {
            Ok(turn) => turn,
            Err(NoTurn::Stop) => return (Err(End::stopped()), None),
            Err(NoTurn::Busy) => {
                let end = End::new(Outcome::NoSlot, "other jobs of the worker take long");
                return (Err(end), None);
            }
        };
        let since = Instant::now();
        let trace = Root::of_work("job", Kind::Internal);
        let end = trace.run(self.attempt(stop, args)).await;
        let fault = end.is_err().then_some("the attempt failed");
        trace.end(|| (format!("job {}", P::NAME), Vec::new()), fault);
        drop(turn);
        (end, Some(since.elapsed()))
    }

    /// A slot. For a type with slots of its own River claims no more jobs than these.
    async fn turn(&self, stop: &CancellationToken) -> Result<Option<Turn<'_>>, NoTurn> {
        if P::LIMITS.concurrency.is_some() {
            return Ok(None);
        }
        self.desk.turns.next(stop).await.map(Some)
    }

    async fn attempt(&self, stop: &CancellationToken, args: Envelope<P>) -> Result<(), End> {
        let payload = match decode::<P>(args.version.unwrap_or(1), args.payload) {
            Ok(payload) => payload,
            // A worker of the newer release may run it.
            Err(InvalidPayload::Newer(version)) => {
                let error =
                    format!("its payload is of version {version}, which is newer than this");
                return Err(End::new(Outcome::Failed, error));
            }
            Err(InvalidPayload::Wrong(why)) => {
                return Err(End::for_good(format!("its payload is of no use: {why}")));
            }
        };
        if !begins(&self.desk.lease).await {
            return Err(End::new(Outcome::LeaseLost, "its worker has no touch with PostgreSQL"));
        }
        let limit = self.limit();
        tokio::select! {
            biased;
            ran = AssertUnwindSafe(self.handler.run(payload)).catch_unwind() => match ran {
                Ok(Ok(())) => Ok(()),
                Ok(Err(JobError::Permanent(why))) => Err(End::for_good(why)),
                Ok(Err(error @ JobError::Temporary(_))) => {
                    Err(End::new(Outcome::Failed, Causes(&error).to_string()))
                }
                Err(panic) => Err(End::new(Outcome::Panicked, message_of(&*panic))),
            },
            () = stop.cancelled() => Err(End::stopped()),
            () = lost(&self.desk.lease) => {
                Err(End::new(Outcome::LeaseLost, "its worker lost touch with PostgreSQL"))
            }
            () = tokio::time::sleep(limit) => {
                Err(End::new(Outcome::TimedOut, format!("it took longer than {limit:?}")))
            }
        }
    }
}

/// Whether the lease holds, or begins soon: right after an outage a job may be claimed before the lease is renewed. A job that was
/// claimed a moment ago is not taken from its worker.
async fn begins(lease: &Lease) -> bool {
    for _ in 0..LEASE_LOOKS {
        if !lease.remaining().is_zero() {
            return true;
        }
        tokio::time::sleep(LEASE_LOOK_INTERVAL).await;
    }
    false
}

/// Returns when the lease does not hold any more.
async fn lost(lease: &Lease) {
    loop {
        let remaining = lease.remaining();
        if remaining.is_zero() {
            return;
        }
        tokio::time::sleep(remaining).await;
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use prometheus::Registry;
    use serde_json::json;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::application::ports::{Clock, MockScheduleRuns, MockWorkerJobs};
    use crate::infrastructure::jobs::ahead::Turns;
    use crate::infrastructure::jobs::metrics::JobMetrics;
    use crate::infrastructure::jobs::types::noop::Noop;
    use crate::testing::builders::at;
    use crate::testing::fakes::FakeClock;

    /// More than a lease.
    const LIMIT: Duration = Duration::from_mins(1);

    /// What a handler does.
    #[derive(Clone, Copy)]
    enum Does {
        Nothing,
        Panics,
        Hangs,
        Fails,
        FailsForGood,
    }

    #[async_trait]
    impl Handler<Noop> for Does {
        async fn run(&self, _: Noop) -> Result<(), JobError> {
            match self {
                Self::Nothing => Ok(()),
                Self::Panics => panic!("ouch"),
                Self::Hangs => std::future::pending().await,
                Self::Fails => Err(JobError::Temporary("no luck".into())),
                Self::FailsForGood => Err(JobError::Permanent("no use".to_owned())),
            }
        }
    }

    /// A worker whose lease was renewed now, unless it has none.
    fn worker(does: Does, has_lease: bool) -> (TypeWorker<Noop>, Arc<FakeClock>) {
        let clock = FakeClock::at(at(0));
        let lease = Arc::new(Lease::new(Arc::<FakeClock>::clone(&clock)));
        if has_lease {
            lease.renewed(clock.monotonic());
        }
        let desk = Desk {
            worker: "w".to_owned(),
            jobs: Arc::new(MockWorkerJobs::new()),
            schedules: Arc::new(MockScheduleRuns::new()),
            lease,
            metrics: Arc::new(JobMetrics::register(&Registry::new()).unwrap()),
            timeout: LIMIT,
            turns: Turns::of(1),
            records: Semaphore::new(1),
        };
        (TypeWorker { handler: Arc::new(does), desk: Arc::new(desk) }, clock)
    }

    fn args(version: u32, payload: Value) -> Envelope<Noop> {
        Envelope { version: Some(version), payload, of: PhantomData }
    }

    async fn ends(does: Does) -> (Outcome, String, bool) {
        let (worker, _) = worker(does, true);
        let end = worker.attempt(&CancellationToken::new(), args(1, json!({}))).await;
        let end = end.unwrap_err();
        (end.outcome, end.error, end.may_retry)
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_fails_panics_or_hangs_is_ended_and_the_reason_kept() {
        let (succeeds, _) = worker(Does::Nothing, true);
        assert!(succeeds.attempt(&CancellationToken::new(), args(1, json!({}))).await.is_ok());

        let ended = [
            ends(Does::Fails).await,
            ends(Does::FailsForGood).await,
            ends(Does::Panics).await,
            ends(Does::Hangs).await,
        ];

        let expected = [
            (Outcome::Failed, "no luck", true),
            (Outcome::Failed, "no use", false),
            (Outcome::Panicked, "it panicked: ouch", true),
            (Outcome::TimedOut, "it took longer than 60s", true),
        ];
        assert_eq!(
            ended,
            expected.map(|(outcome, error, retry)| (outcome, error.to_owned(), retry))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_payload_of_no_use_is_not_retried_and_one_of_a_newer_release_is() {
        let (worker, _) = worker(Does::Nothing, true);
        let stop = CancellationToken::new();

        let wrong = worker.attempt(&stop, args(1, json!({ "colour": "red" }))).await.unwrap_err();
        let newer = worker.attempt(&stop, args(2, json!({}))).await.unwrap_err();

        assert_eq!((wrong.outcome, wrong.may_retry), (Outcome::Failed, false));
        assert_eq!((newer.outcome, newer.may_retry), (Outcome::Failed, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_without_a_lease_gives_its_job_up_and_one_that_stops_gives_it_back() {
        let (without, _) = worker(Does::Nothing, false);
        let (losing, clock) = worker(Does::Hangs, true);
        let (stopping, _) = worker(Does::Hangs, true);
        let (never, stopped) = (CancellationToken::new(), CancellationToken::new());
        stopped.cancel();

        let without = without.attempt(&never, args(1, json!({}))).await.unwrap_err();
        let (lost, ()) = tokio::join!(losing.attempt(&never, args(1, json!({}))), async {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_mins(1));
        });
        let back = stopping.attempt(&stopped, args(1, json!({}))).await.unwrap_err();

        assert_eq!(without.outcome, Outcome::LeaseLost);
        assert_eq!(lost.unwrap_err().outcome, Outcome::LeaseLost);
        assert_eq!(back.outcome, Outcome::GivenBack);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_was_claimed_ahead_runs_in_a_slot_or_not_at_all() {
        let (worker, _) = worker(Does::Nothing, true);
        let never = CancellationToken::new();
        let slot = worker.desk.turns.next(&never).await.unwrap();

        let (without, not_run) = worker.in_turn(&never, args(1, json!({}))).await;
        drop(slot);
        let (with, ran) = worker.in_turn(&never, args(1, json!({}))).await;

        assert_eq!(without.unwrap_err().outcome, Outcome::NoSlot);
        assert!(with.is_ok());
        assert!(not_run.is_none() && ran.is_some());
    }
}
