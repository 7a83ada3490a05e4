//! One attempt of a job, however it ends: it succeeds, fails, panics, takes too long, loses its lease or is given back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use super::metrics::Outcome;
use super::types::payload::{Handler, InvalidPayload, JobError, Payload, decode};
use super::worker::JobWorker;
use crate::application::jobs::lease::Lease;
use crate::application::ports::{Causes, ClaimedJob};
use crate::infrastructure::traces::{Kind, Root};

/// How often a job that has just been claimed looks whether the lease has begun, and how long it waits in between: together less than
/// the time after which others take jobs over.
const LEASE_LOOKS: u32 = 40;
const LEASE_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A job's arguments: its payload, and the version of that.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    version: Option<u32>,
    payload: Value,
}

/// A handler of any type of job.
pub(super) trait AnyHandler: Send + Sync {
    /// Longest time of an attempt; `None`: that of the configuration.
    fn timeout(&self) -> Option<Duration>;

    /// Runs the job with these arguments.
    fn run<'a>(&'a self, arguments: &'a str) -> BoxFuture<'a, Result<(), JobError>>;
}

/// The handler of a type.
pub(super) struct TypeHandler<P>(pub(super) Arc<dyn Handler<P>>);

impl<P: Payload> AnyHandler for TypeHandler<P> {
    fn timeout(&self) -> Option<Duration> {
        P::LIMITS.timeout
    }

    fn run<'a>(&'a self, arguments: &'a str) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move { self.0.run(payload(arguments)?).await })
    }
}

fn payload<P: Payload>(arguments: &str) -> Result<P, JobError> {
    let read = || {
        let Arguments { version, payload } = serde_json::from_str(arguments)
            .map_err(|error| InvalidPayload::Wrong(error.to_string()))?;
        decode::<P>(version.unwrap_or(1), payload)
    };
    read().map_err(|invalid| match invalid {
        // A worker of the newer release may run it.
        InvalidPayload::Newer(version) => {
            let why = format!("its payload is of version {version}, which is newer than this");
            JobError::Temporary(why.into())
        }
        InvalidPayload::Wrong(why) => {
            JobError::Permanent(format!("its payload is of no use: {why}"))
        }
    })
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

    fn for_good(error: impl Into<String>) -> Self {
        Self { may_retry: false, ..Self::new(Outcome::Failed, error) }
    }
}

impl JobWorker {
    /// Runs a job and records how it ends.
    pub(super) async fn run(&self, job: ClaimedJob, handler: &dyn AnyHandler) {
        let since = Instant::now();
        let trace = Root::of_work("job", Kind::Internal);
        let end = trace.run(self.attempt(&job.arguments, handler)).await;
        let fault = end.is_err().then_some("the attempt failed");
        trace.end(|| (format!("job {}", job.job_type), Vec::new()), fault);
        let outcome = end.as_ref().map_or_else(|end| end.outcome, |()| Outcome::Succeeded);
        self.metrics.ran(&job.job_type, outcome, Some(since.elapsed()));
        match end {
            Ok(()) => self.succeeded(&job).await,
            Err(End { outcome: Outcome::GivenBack, .. }) => self.give_back(&[job.claim]).await,
            Err(end) => self.failed(&job, &end.error, end.may_retry).await,
        }
    }

    async fn attempt(&self, arguments: &str, handler: &dyn AnyHandler) -> Result<(), End> {
        if !begins(&self.lease).await {
            return Err(End::new(Outcome::LeaseLost, "its worker has no touch with PostgreSQL"));
        }
        let limit = handler.timeout().unwrap_or_else(|| self.timeout.get());
        tokio::select! {
            biased;
            ran = AssertUnwindSafe(handler.run(arguments)).catch_unwind() => match ran {
                Ok(Ok(())) => Ok(()),
                Ok(Err(JobError::Permanent(why))) => Err(End::for_good(why)),
                Ok(Err(error @ JobError::Temporary(_))) => {
                    Err(End::new(Outcome::Failed, Causes(&error).to_string()))
                }
                Err(panic) => Err(End::new(Outcome::Panicked, message_of(&*panic))),
            },
            () = self.cancelled.cancelled() => {
                Err(End::new(Outcome::GivenBack, "the worker stops"))
            }
            () = lost(&self.lease) => {
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

    use super::*;
    use crate::infrastructure::jobs::fake_attempts::{FakeAttempts, a_worker};
    use crate::infrastructure::jobs::types::noop::Noop;
    use crate::testing::fakes::FakeClock;

    const NOTHING: &str = r#"{"version":1,"payload":{}}"#;

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

    fn handler(does: Does) -> TypeHandler<Noop> {
        TypeHandler(Arc::new(does))
    }

    fn worker(has_lease: bool) -> (JobWorker, Arc<FakeClock>) {
        let (worker, _, clock) = a_worker(&Arc::new(FakeAttempts::default()), has_lease);
        (worker, clock)
    }

    async fn ends(does: Does) -> (Outcome, String, bool) {
        let (worker, _) = worker(true);
        let end = worker.attempt(NOTHING, &handler(does)).await.unwrap_err();
        (end.outcome, end.error, end.may_retry)
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_fails_panics_or_hangs_is_ended_and_the_reason_kept() {
        let (succeeds, _) = worker(true);
        assert!(succeeds.attempt(NOTHING, &handler(Does::Nothing)).await.is_ok());

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
        let (worker, _) = worker(true);
        let end = async |arguments| {
            let end = worker.attempt(arguments, &handler(Does::Nothing)).await.unwrap_err();
            (end.outcome, end.may_retry)
        };

        for wrong in [r#"{"version":1,"payload":{"colour":"red"}}"#, "[1]", "{}", "null", ""] {
            assert_eq!(end(wrong).await, (Outcome::Failed, false), "{wrong}");
        }
        assert_eq!(end(r#"{"version":2,"payload":{}}"#).await, (Outcome::Failed, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_without_a_lease_gives_its_job_up_and_one_that_stops_gives_it_back() {
        let (without, _) = worker(false);
        let (losing, clock) = worker(true);
        let (stopping, _) = worker(true);
        stopping.cancelled.cancel();
        let hangs = handler(Does::Hangs);

        let without = without.attempt(NOTHING, &handler(Does::Nothing)).await.unwrap_err();
        let (lost, ()) = tokio::join!(losing.attempt(NOTHING, &hangs), async {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_mins(1));
        });
        let back = stopping.attempt(NOTHING, &hangs).await.unwrap_err();

        assert_eq!(without.outcome, Outcome::LeaseLost);
        assert_eq!(lost.unwrap_err().outcome, Outcome::LeaseLost);
        assert_eq!(back.outcome, Outcome::GivenBack);
    }
}
