//! Keeps schedules.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::row::{ScheduleRow, schedule_columns};
use crate::application::ports::{AddedSchedule, JobSchedule, PortError, ScheduleStore};
use crate::domain::job::ScheduleName;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

const WHAT: &str = "the schedules";

const LIST: &str =
    concat!("SELECT ", schedule_columns!(), " FROM schedules ORDER BY name LIMIT 1000");
const FIND: &str = concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE name = $1");
const NOW: &str = "SELECT clock_timestamp()";

/// At most a thousand, which every instance can run.
const ADD: &str = r"
    WITH room AS (
        SELECT count(*) < 1000 AS is_left FROM schedules
    ), added AS (
        INSERT INTO schedules (name, cron, time_zone, job_type, payload_version, payload, next_run_at)
        SELECT $1, $2, $3, $4, $5, $6::jsonb, $7 FROM room WHERE is_left
        ON CONFLICT ON CONSTRAINT schedules_pkey DO NOTHING
        RETURNING name
    )
    SELECT is_left, EXISTS (SELECT FROM added) FROM room
";

const SET_NEXT: &str = concat!(
    "UPDATE schedules SET paused = $2, next_run_at = $3 WHERE name = $1 RETURNING ",
    schedule_columns!()
);

const REMOVE: &str =
    concat!("DELETE FROM schedules WHERE name = $1 RETURNING ", schedule_columns!());

/// Keeps schedules.
pub(crate) struct PostgresScheduleStore {
    database: Database,
}

impl PostgresScheduleStore {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl ScheduleStore for PostgresScheduleStore {
    async fn list(&self) -> Result<Vec<JobSchedule>, PortError> {
        let query = || sqlx::query_as(LIST).fetch_all(self.database.pool());
        let rows: Vec<ScheduleRow> =
            self.database.read_as(Statement::Schedules, WHAT, query).await?;
        let schedules: Result<_, DatabaseError> =
            rows.into_iter().map(ScheduleRow::schedule).collect();
        schedules.map_err(|error| error.into_port_error(WHAT))
    }

    async fn find(
        &self,
        name: &ScheduleName,
    ) -> Result<(Option<JobSchedule>, DateTime<Utc>), PortError> {
        let query = || async {
            let mut connection = self.database.pool().acquire().await?;
            let row: Option<ScheduleRow> =
                sqlx::query_as(FIND).bind(name.as_str()).fetch_optional(&mut *connection).await?;
            let now: DateTime<Utc> = sqlx::query_scalar(NOW).fetch_one(&mut *connection).await?;
            Ok((row, now))
        };
        let (row, now) = self.database.read_as(Statement::Schedules, WHAT, query).await?;
        let schedule = row.map(ScheduleRow::schedule).transpose();
        Ok((schedule.map_err(|error| error.into_port_error(WHAT))?, now))
    }

    async fn add(&self, schedule: &JobSchedule) -> Result<AddedSchedule, PortError> {
        let add = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query_as(ADD)
                .bind(schedule.name.as_str())
                .bind(&schedule.cron)
                .bind(&schedule.time_zone)
                .bind(&schedule.job_type)
                .bind(i32::try_from(schedule.payload_version).unwrap_or(i32::MAX))
                .bind(&schedule.payload)
                .bind(schedule.next_run_at)
                .fetch_one(&mut *connection);
            self.database.time(Statement::Schedules, query).await
        };
        let (is_left, is_added): (bool, bool) =
            add.await.map_err(|error: DatabaseError| error.into_port_error(WHAT))?;
        Ok(match (is_left, is_added) {
            (_, true) => AddedSchedule::Added,
            (true, false) => AddedSchedule::Exists,
            (false, false) => AddedSchedule::TooMany,
        })
    }

    async fn set_next(
        &self,
        name: &ScheduleName,
        paused: bool,
        next: Option<DateTime<Utc>>,
    ) -> Result<Option<JobSchedule>, PortError> {
        let set = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query_as(SET_NEXT).bind(name.as_str()).bind(paused).bind(next);
            let query = query.fetch_optional(&mut *connection);
            let row: Option<ScheduleRow> = self.database.time(Statement::Schedules, query).await?;
            row.map(ScheduleRow::schedule).transpose()
        };
        set.await.map_err(|error: DatabaseError| error.into_port_error(WHAT))
    }

    async fn remove(&self, name: &ScheduleName) -> Result<Option<JobSchedule>, PortError> {
        let remove = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query_as(REMOVE).bind(name.as_str());
            let query = query.fetch_optional(&mut *connection);
            let row: Option<ScheduleRow> = self.database.time(Statement::Schedules, query).await?;
            row.map(ScheduleRow::schedule).transpose()
        };
        remove.await.map_err(|error: DatabaseError| error.into_port_error(WHAT))
    }
}
