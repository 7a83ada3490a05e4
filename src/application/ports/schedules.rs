//! Schedules: when which job is enqueued.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::jobs::{Enqueued, NewJob};
use super::system::PortError;
use crate::domain::job::{JobId, ScheduleName};

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSchedule {
    /// Its name.
    pub name: ScheduleName,
    /// The cron expression.
    pub cron: String,
    /// Name of the time zone.
    pub time_zone: String,
    /// The type of its jobs.
    pub job_type: String,
    /// Version of the payload.
    pub payload_version: u32,
    /// The payload of its jobs as JSON.
    pub payload: String,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// When it runs next; `None` while it is paused, and when no date is left.
    pub next_run_at: Option<DateTime<Utc>>,
    /// When it last ran.
    pub last_run_at: Option<DateTime<Utc>>,
    /// What became of its last job.
    pub last_outcome: Option<String>,
}

/// A cron expression or a time zone is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimes {
    /// The expression.
    #[error(
        "{0:?} is no cron expression of six fields (second minute hour day month weekday): {1}"
    )]
    Cron(String, String),
    /// The time zone.
    #[error("{0:?} is not the IANA name of a time zone")]
    TimeZone(String),
}

/// Computes times of cron expressions.
#[cfg_attr(test, mockall::automock)]
pub trait CronTimes: Send + Sync {
    /// The first time after `moment`; `None` if there is none.
    fn next(
        &self,
        cron: &str,
        time_zone: &str,
        moment: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, InvalidTimes>;
}

/// The result of adding a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddedSchedule {
    /// It is there.
    Added,
    /// There is one of this name.
    Exists,
    /// There are as many as there may be.
    TooMany,
}

/// Keeps schedules. Each change MUST be committed together with its row in the audit, or not at all.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// All schedules, by name.
    async fn list(&self) -> Result<Vec<JobSchedule>, PortError>;

    /// The schedule of this name, and the time of the database.
    async fn find(
        &self,
        name: &ScheduleName,
    ) -> Result<(Option<JobSchedule>, DateTime<Utc>), PortError>;

    /// Adds a schedule.
    async fn add(&self, schedule: &JobSchedule, actor: &str) -> Result<AddedSchedule, PortError>;

    /// Pauses a schedule, or resumes it and sets when it runs next. Returns it; `None` if there is none. One that is paused, or is not,
    /// as it shall be stays as it is.
    async fn set_next(
        &self,
        name: &ScheduleName,
        paused: bool,
        next: Option<DateTime<Utc>>,
        actor: &str,
    ) -> Result<Option<JobSchedule>, PortError>;

    /// Removes a schedule and returns it; `None` if there is none.
    async fn remove(
        &self,
        name: &ScheduleName,
        actor: &str,
    ) -> Result<Option<JobSchedule>, PortError>;
}

/// The schedules that are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueSchedules {
    /// The time of the database.
    pub now: DateTime<Utc>,
    /// They, the longest due first.
    pub schedules: Vec<JobSchedule>,
}

/// A run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRun {
    /// The schedule.
    pub name: ScheduleName,
    /// When it was due, and when it is due next; `None` if an operator runs it, which moves nothing.
    pub moves: Option<(DateTime<Utc>, Option<DateTime<Utc>>)>,
    /// The job.
    pub job: NewJob,
    /// The operator who runs it, for the audit; `None`: it was due.
    pub actor: Option<String>,
}

/// Runs schedules.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait ScheduleRuns: Send + Sync {
    /// The schedules that are due. Bounded.
    async fn due(&self) -> Result<DueSchedules, PortError>;

    /// Enqueues the job and moves the schedule, both or neither; an operator's run with its row in the audit. MUST do nothing and return `None` if the schedule is not due at this
    /// time any more: another instance was first, or an operator has paused or removed it.
    async fn run(&self, run: &ScheduleRun) -> Result<Option<Enqueued>, PortError>;

    /// Records what became of a job of a schedule, if it is its last one.
    async fn finished(
        &self,
        name: &ScheduleName,
        job: JobId,
        outcome: &'static str,
    ) -> Result<(), PortError>;
}
