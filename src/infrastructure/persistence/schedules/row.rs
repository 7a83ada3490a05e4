//! A row of `schedules`.

use chrono::{DateTime, Utc};

use crate::application::ports::JobSchedule;
use crate::domain::job::ScheduleName;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

/// The columns of [`ScheduleRow`].
macro_rules! schedule_columns {
    () => {
        "name, cron, time_zone, job_type, payload_version, payload::text AS payload, paused, next_run_at, last_run_at,
         last_outcome"
    };
}

pub(crate) use schedule_columns;

from_row! {
    #[derive(Debug)]
    pub(crate) struct ScheduleRow {
        name: String,
        cron: String,
        time_zone: String,
        job_type: String,
        payload_version: i32,
        payload: String,
        paused: bool,
        next_run_at: Option<DateTime<Utc>>,
        last_run_at: Option<DateTime<Utc>>,
        last_outcome: Option<String>,
    }
}

impl ScheduleRow {
    /// The schedule; an error for a row that no version of this service writes.
    pub(crate) fn schedule(self) -> Result<JobSchedule, DatabaseError> {
        let unreadable = || DatabaseError::Unreadable("schedules");
        Ok(JobSchedule {
            name: ScheduleName::parse(&self.name).ok_or_else(unreadable)?,
            cron: self.cron,
            time_zone: self.time_zone,
            job_type: self.job_type,
            payload_version: self.payload_version.try_into().map_err(|_| unreadable())?,
            payload: self.payload,
            paused: self.paused,
            next_run_at: self.next_run_at,
            last_run_at: self.last_run_at,
            last_outcome: self.last_outcome,
        })
    }
}
