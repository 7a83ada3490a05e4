//! Jobs: enqueueing, reading, running, and what operators do with them.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::lists::{Cursor, CursorPage};
use super::system::PortError;
use crate::domain::job::{JobId, JobKey, JobPriority, JobState, ScheduleName};

/// Work of a known type, with a payload that the type understands. Only [`JobTypes`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobWork {
    /// Name of the type.
    pub job_type: &'static str,
    /// Version of the payload.
    pub version: u32,
    /// The payload as JSON.
    pub payload: String,
    /// The queue of the type. Types whose concurrency is limited have one each.
    pub queue: &'static str,
    /// Attempts until the job is dead.
    pub max_attempts: u16,
}

/// Why something is no work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWork {
    /// No type has this name.
    #[error("there is no job type {name:?}; there are: {}", .known.join(", "))]
    UnknownType {
        /// The name.
        name: String,
        /// The names that exist, each with its payload.
        known: Vec<String>,
    },
    /// The type does not understand the payload.
    #[error("{job_type} does not take this payload, {why}; it takes: {takes}")]
    Payload {
        /// The type.
        job_type: &'static str,
        /// What is wrong.
        why: String,
        /// What the type takes.
        takes: &'static str,
    },
}

/// Knows the types of jobs.
#[cfg_attr(test, mockall::automock)]
pub trait JobTypes: Send + Sync {
    /// Checks a payload of this version, of the newest if `None`, and returns it in the newest version. MUST refuse what a worker of
    /// this release could not run.
    fn work(
        &self,
        job_type: &str,
        version: Option<u32>,
        payload: &str,
    ) -> Result<JobWork, InvalidWork>;
}

/// A job to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// What it does.
    pub work: JobWork,
    /// Which of the waiting jobs run first.
    pub priority: JobPriority,
    /// It does not run before this time has passed.
    pub delay: Duration,
    /// No second job is enqueued with it while one has it.
    pub key: Option<JobKey>,
    /// The schedule that enqueues it.
    pub schedule: Option<ScheduleName>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Name of its type.
    pub job_type: String,
    /// Version of the payload.
    pub version: u32,
    /// The payload as JSON.
    pub payload: String,
    /// Its priority.
    pub priority: JobPriority,
    /// Where it stands.
    pub state: JobState,
    /// Attempts that began.
    pub attempts: u16,
    /// Attempts until it is dead.
    pub max_attempts: u16,
    /// When it may run.
    pub run_at: DateTime<Utc>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it was done or dead.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why its last failed attempt failed.
    pub last_error: Option<String>,
    /// The worker of the last attempt.
    pub worker: Option<String>,
    /// The schedule that enqueued it.
    pub schedule: Option<String>,
}

/// The result of enqueueing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The new job, or the one that has its key.
    pub job: Job,
    /// Whether it is new.
    pub is_new: bool,
}

/// Takes jobs. Adapters that write something else as well enqueue in their own transaction instead.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Enqueues a job, durably before it returns. MUST NOT enqueue a second job with a key, from any instance, until the first is dead
    /// or deleted. A new job MUST be committed together with its row in the audit.
    async fn enqueue(&self, job: &NewJob, actor: &str) -> Result<Enqueued, PortError>;
}

/// Which jobs to list; `None` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only of this type.
    pub job_type: Option<String>,
    /// Only of this priority.
    pub priority: Option<JobPriority>,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JobCount {
    /// Of this state.
    pub state: JobState,
    /// Of this priority.
    pub priority: JobPriority,
    /// Their number.
    pub jobs: u64,
    /// For how long the one that waits longest could have run; zero for those that do not wait.
    pub oldest: Duration,
}

/// Reads jobs.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait JobReader: Send + Sync {
    /// The job of this number.
    async fn find(&self, id: JobId) -> Result<Option<Job>, PortError>;

    /// Jobs, newest first.
    async fn list(
        &self,
        filter: &JobFilter,
        page: Cursor<JobId>,
    ) -> Result<CursorPage<Job, JobId>, PortError>;

    /// The numbers of jobs that are not done; combinations without a job may be missing.
    async fn counts(&self) -> Result<Vec<JobCount>, PortError>;
}

/// The result of an operator's change of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobChange {
    /// Changed; the job as it is now, or as it was before it was deleted.
    Changed(Job),
    /// There is no such job.
    NotFound,
    /// A job in this state cannot be changed so.
    WrongState(JobState),
    /// Another job has its key.
    KeyInUse,
}

/// A part of the dead jobs, put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutBack {
    /// Jobs that wait again.
    pub retried: u64,
    /// Dead jobs that stay dead, because another job has their key.
    pub left: u64,
    /// The last job that was looked at; `None` if there was none.
    pub last: Option<JobId>,
}

/// What operators do with jobs that ended badly. Each change MUST be committed together with its row in the audit, or not at all.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait JobRepair: Send + Sync {
    /// Lets a job that waits for a time, retries or is dead run now, with all its attempts.
    async fn retry(&self, id: JobId, actor: &str) -> Result<JobChange, PortError>;

    /// Does so with the dead jobs after `after`, of one type if given, in the order of their numbers and up to `limit`.
    async fn retry_dead(
        &self,
        job_type: Option<String>,
        after: Option<JobId>,
        limit: u32,
        actor: &str,
    ) -> Result<PutBack, PortError>;

    /// Deletes a job that does not run.
    async fn discard(&self, id: JobId, actor: &str) -> Result<JobChange, PortError>;

    /// Deletes jobs that have been done or dead for so long, and returns how many. Bounded: it may leave some for the next call.
    async fn prune(&self, keep_done: Duration, keep_dead: Duration) -> Result<u64, PortError>;
}

/// A job whose worker has died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// Its number.
    pub id: JobId,
    /// Name of its type.
    pub job_type: String,
    /// Number of the lost attempt.
    pub attempt: u16,
    /// The schedule that enqueued it.
    pub schedule: Option<ScheduleName>,
    /// The worker that has died.
    pub worker: String,
    /// What became of the job: waiting, retrying or dead.
    pub state: JobState,
}

/// A job that a worker has claimed: its next attempt has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedJob {
    /// The attempt.
    pub claim: JobClaim,
    /// Name of the job's type.
    pub job_type: String,
    /// Number of the attempt, from 1.
    pub attempt: u16,
    /// Attempts until the job is dead.
    pub max_attempts: u16,
    /// Version of the payload, and the payload, as JSON.
    pub arguments: String,
    /// The schedule that enqueued it.
    pub schedule: Option<ScheduleName>,
}

/// One attempt of a job. A number would not do: it comes again after the job was given or put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobClaim {
    /// The job.
    pub id: JobId,
    /// When it was claimed, by the database's clock.
    pub claimed_at: DateTime<Utc>,
}

/// Which jobs a worker claims.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The queue.
    pub queue: &'a str,
    /// Jobs of other types are left to workers that know them.
    pub job_types: &'a [&'static str],
    /// Maximum number of jobs.
    pub at_most: usize,
}

/// An attempt that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The attempt.
    pub claim: JobClaim,
    /// Why.
    pub error: String,
    /// The delay before the next attempt; `None`: the job is dead.
    pub retry_in: Option<Duration>,
}

/// Begins and ends attempts. A job is this worker's until its end is on record, or another worker has taken it over: from then on no end
/// but success MUST change it.
#[async_trait]
pub trait JobAttempts: Send + Sync {
    /// Claims jobs that wait, the most urgent first. MUST pass over those that another worker claims at the same time.
    async fn claim(&self, worker: &str, wanted: Wanted<'_>) -> Result<Vec<ClaimedJob>, PortError>;

    /// The jobs of a queue that this worker has claimed, other than in the last moments: by what is on record.
    async fn claimed(&self, worker: &str, queue: &str) -> Result<Vec<JobClaim>, PortError>;

    /// Jobs are done, whichever attempt of them runs now.
    async fn succeed(&self, jobs: &[JobId]) -> Result<(), PortError>;

    /// An attempt has failed. Returns false if the job is not this worker's. The same failure once more MUST change nothing and return
    /// true: the first answer may have been lost.
    async fn fail(&self, worker: &str, failed: &FailedAttempt) -> Result<bool, PortError>;

    /// Jobs wait for another worker, and the attempts do not count.
    async fn give_back(&self, worker: &str, claims: &[JobClaim]) -> Result<(), PortError>;
}

/// Tells of jobs that wait.
#[async_trait]
pub trait JobNotifications: Send + Sync {
    /// Calls `tell` with the queue of each job that begins to wait, and with `None` where such calls may have been missed. Never returns.
    async fn follow(&self, tell: &(dyn for<'q> Fn(Option<&'q str>) + Send + Sync));
}

/// What workers do with jobs besides running them. All times are by the database's clock.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait WorkerJobs: Send + Sync {
    /// Tells that this worker is alive.
    async fn renew(&self, worker: &str) -> Result<(), PortError>;

    /// Tells that this worker runs no job any more.
    async fn release(&self, worker: &str) -> Result<(), PortError>;

    /// Takes the jobs of workers that have not been seen for `lease`. MUST NOT take a job from a worker that renews in time. The lost
    /// attempt counts; the schedule of a job that is dead MUST have that as its last outcome.
    async fn take_over(&self, lease: Duration) -> Result<Vec<TakenOver>, PortError>;

    /// Lets jobs wait for a worker whose time has come, and returns how many. Bounded.
    async fn promote(&self) -> Result<u64, PortError>;
}
