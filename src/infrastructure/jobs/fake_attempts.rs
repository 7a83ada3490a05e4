//! Jobs in memory, for tests of what runs them.

#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use prometheus::Registry;

use super::metrics::JobMetrics;
use super::types::payload::SHARED_QUEUE;
use super::worker::{JobWorker, Successes, WorkerPorts};
use crate::application::jobs::lease::Lease;
use crate::application::ports::{
    ClaimedJob, Clock, FailedAttempt, JobAttempts, JobClaim, MockScheduleRuns, PortError, Wanted,
};
use crate::config::Setting;
use crate::domain::job::JobId;
use crate::testing::builders::{at, unavailable};
use crate::testing::fakes::FakeClock;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Running,
    Done,
    /// With the error on record.
    Failed(String),
}

/// Jobs of type `noop` in the shared queue, in the order of their numbers.
#[derive(Default)]
pub(super) struct FakeAttempts {
    jobs: Mutex<BTreeMap<i64, (State, DateTime<Utc>)>>,
    /// Every call fails.
    pub(super) is_away: AtomicBool,
    /// Claims are written, and their answers are lost.
    pub(super) loses_answers: AtomicBool,
    /// Another worker has all jobs.
    pub(super) is_anothers: AtomicBool,
    /// How long a failure takes to be recorded.
    pub(super) failures_take: Duration,
    /// How long the answer of a claim takes.
    pub(super) claims_take: Duration,
    now: AtomicUsize,
    most: AtomicUsize,
    claims: Mutex<Vec<usize>>,
}

impl FakeAttempts {
    pub(super) fn waiting(count: i64) -> Self {
        let jobs = (1..=count).map(|id| (id, (State::Waiting, at(0)))).collect();
        Self { jobs: Mutex::new(jobs), ..Self::default() }
    }

    pub(super) fn states(&self) -> Vec<State> {
        self.jobs.lock().unwrap().values().map(|(state, _)| state.clone()).collect()
    }

    pub(super) fn add(&self, id: i64) {
        self.jobs.lock().unwrap().insert(id, (State::Waiting, at(0)));
    }

    /// How many jobs each claim since the last call of this wanted.
    pub(super) fn wanted(&self) -> Vec<usize> {
        std::mem::take(&mut *self.claims.lock().unwrap())
    }

    /// The largest number of failures that were recorded at a time.
    pub(super) fn most_at_a_time(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn claim_now(&self, wanted: Wanted<'_>) -> Vec<ClaimedJob> {
        if wanted.queue != SHARED_QUEUE {
            return Vec::new();
        }
        self.claims.lock().unwrap().push(wanted.at_most);
        let mut jobs = self.jobs.lock().unwrap();
        let waiting = jobs.iter_mut().filter(|(_, job)| job.0 == State::Waiting);
        let claimed = waiting.take(wanted.at_most).map(|(id, job)| {
            *job = (State::Running, job.1 + Duration::from_secs(1));
            a_claimed_job(JobClaim { id: JobId::new(*id).unwrap(), claimed_at: job.1 })
        });
        claimed.collect()
    }

    fn is_there(&self) -> Result<(), PortError> {
        if self.is_away.load(Ordering::Relaxed) { Err(unavailable()) } else { Ok(()) }
    }

    fn ends(&self, claim: JobClaim, state: State) -> bool {
        let mut jobs = self.jobs.lock().unwrap();
        let job = jobs.get_mut(&claim.id.get()).unwrap();
        let is_ours = *job == (State::Running, claim.claimed_at);
        if is_ours {
            job.0 = state;
        }
        is_ours
    }
}

#[async_trait]
impl JobAttempts for FakeAttempts {
    async fn claim(&self, _: &str, wanted: Wanted<'_>) -> Result<Vec<ClaimedJob>, PortError> {
        self.is_there()?;
        let claimed = self.claim_now(wanted);
        tokio::time::sleep(self.claims_take).await;
        if self.loses_answers.load(Ordering::Relaxed) { Err(unavailable()) } else { Ok(claimed) }
    }

    async fn claimed(&self, _: &str, queue: &str) -> Result<Vec<JobClaim>, PortError> {
        self.is_there()?;
        if queue != SHARED_QUEUE {
            return Ok(Vec::new());
        }
        let jobs = self.jobs.lock().unwrap();
        let running = jobs.iter().filter(|(_, job)| job.0 == State::Running);
        let claim = |(id, job): (&i64, &(State, DateTime<Utc>))| JobClaim {
            id: JobId::new(*id).unwrap(),
            claimed_at: job.1,
        };
        Ok(running.map(claim).collect())
    }

    async fn succeed(&self, jobs: &[JobId]) -> Result<(), PortError> {
        self.is_there()?;
        for id in jobs {
            self.jobs.lock().unwrap().get_mut(&id.get()).unwrap().0 = State::Done;
        }
        Ok(())
    }

    async fn fail(&self, _: &str, failed: &FailedAttempt) -> Result<bool, PortError> {
        self.is_there()?;
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(self.failures_take).await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        let is_ours = !self.is_anothers.load(Ordering::Relaxed);
        Ok(is_ours && self.ends(failed.claim, State::Failed(failed.error.clone())))
    }

    async fn give_back(&self, _: &str, claims: &[JobClaim]) -> Result<(), PortError> {
        self.is_there()?;
        for claim in claims {
            self.ends(*claim, State::Waiting);
        }
        Ok(())
    }
}

pub(super) fn a_claimed_job(claim: JobClaim) -> ClaimedJob {
    ClaimedJob {
        claim,
        job_type: "noop".to_owned(),
        attempt: 1,
        max_attempts: 3,
        arguments: r#"{"version":1,"payload":{}}"#.to_owned(),
        schedule: None,
    }
}

/// A worker with these jobs, whose attempts may take a minute. Its lease was renewed now, unless it has none.
pub(super) fn a_worker(
    attempts: &Arc<FakeAttempts>,
    has_lease: bool,
) -> (JobWorker, Successes, Arc<FakeClock>) {
    let clock = FakeClock::at(at(0));
    let lease = Arc::new(Lease::new(Arc::<FakeClock>::clone(&clock)));
    if has_lease {
        lease.renewed(clock.monotonic());
    }
    let ports = WorkerPorts {
        attempts: Arc::<FakeAttempts>::clone(attempts),
        schedules: Arc::new(MockScheduleRuns::new()),
        lease,
        metrics: Arc::new(JobMetrics::register(&Registry::new()).unwrap()),
    };
    let (worker, successes) =
        JobWorker::new("w".to_owned(), ports, Setting::fixed(Duration::from_mins(1)));
    (worker, successes, clock)
}
