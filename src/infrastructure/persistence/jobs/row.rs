//! A row of `river_job` as a job.

use chrono::{DateTime, Utc};

use crate::application::ports::Job;
use crate::domain::job::{JobId, JobPriority, JobState};
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

/// The columns of [`JobRow`], of the table or of a `RETURNING *` of it.
macro_rules! job_columns {
    () => {
        "id, kind, (args->>'version')::int AS version, (args->'payload')::text AS payload, priority, state::text AS state,
         attempt, max_attempts, scheduled_at, created_at, finalized_at, attempted_by[array_upper(attempted_by, 1)] AS worker,
         errors[array_upper(errors, 1)]->>'error' AS last_error, metadata->>'schedule' AS schedule"
    };
}

pub(crate) use job_columns;

from_row! {
    #[derive(Debug)]
    pub(crate) struct JobRow {
        pub(crate) id: i64,
        kind: String,
        version: Option<i32>,
        payload: Option<String>,
        priority: i16,
        state: String,
        attempt: i16,
        max_attempts: i16,
        scheduled_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
        finalized_at: Option<DateTime<Utc>>,
        worker: Option<String>,
        last_error: Option<String>,
        schedule: Option<String>,
    }
}

impl JobRow {
    /// The job; an error for a row that no version of this service writes.
    pub(crate) fn job(self) -> Result<Job, DatabaseError> {
        let unreadable = || DatabaseError::Unreadable("river_job");
        let number = |number: i16| u16::try_from(number).map_err(|_| unreadable());
        Ok(Job {
            id: JobId::new(self.id).ok_or_else(unreadable)?,
            job_type: self.kind,
            version: self.version.and_then(|version| version.try_into().ok()).unwrap_or(1),
            payload: self.payload.unwrap_or_else(|| "{}".to_owned()),
            priority: priority_of(self.priority).ok_or_else(unreadable)?,
            state: state_of(&self.state).ok_or_else(unreadable)?,
            attempts: number(self.attempt)?,
            max_attempts: number(self.max_attempts)?,
            run_at: self.scheduled_at,
            created_at: self.created_at,
            ended_at: self.finalized_at,
            last_error: self.last_error,
            worker: self.worker,
            schedule: self.schedule,
        })
    }
}

/// River's number of a priority: 1 comes first.
pub(crate) fn number_of(priority: JobPriority) -> i16 {
    match priority {
        JobPriority::Critical => 1,
        JobPriority::High => 2,
        JobPriority::Normal => 3,
        JobPriority::Low => 4,
    }
}

/// The priority of River's number.
pub(crate) fn priority_of(number: i16) -> Option<JobPriority> {
    JobPriority::ALL.into_iter().find(|priority| number_of(*priority) == number)
}

/// River's name of a state.
pub(crate) fn name_of(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "available",
        JobState::Scheduled => "scheduled",
        JobState::Running => "running",
        JobState::Retrying => "retryable",
        JobState::Dead => "discarded",
        JobState::Done => "completed",
    }
}

/// The state of River's name. This service cancels no job and parks none, but River's own tools may.
pub(crate) fn state_of(name: &str) -> Option<JobState> {
    match name {
        "cancelled" => Some(JobState::Dead),
        "pending" => Some(JobState::Scheduled),
        _ => JobState::ALL.into_iter().find(|state| name_of(*state) == name),
    }
}
