//! Keeps schedules.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::row::{ScheduleRow, schedule_columns};
use crate::application::ports::{AddedSchedule, JobSchedule, PortError, ScheduleStore};
use crate::domain::job::ScheduleName;
use crate::domain::time_text::rfc3339;
use crate::infrastructure::persistence::operation::record::OperatorRecord;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};

const WHAT: &str = "the schedules";

const LIST: &str =
    concat!("SELECT ", schedule_columns!(), " FROM schedules ORDER BY name LIMIT 1000");
const FIND: &str = concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE name = $1");
const LOCK: &str =
    concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE name = $1 FOR UPDATE");
const NOW: &str = "SELECT clock_timestamp()";

/// At most a thousand, which every instance can run. In a serializable transaction: two that are added at the same time cannot both be
/// the last one.
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

    async fn add(&self, schedule: &JobSchedule, actor: &str) -> Result<AddedSchedule, PortError> {
        let added = self.database.transaction(Options::SERIALIZABLE, |mut tx: Tx| async move {
            let added = add(&mut tx, schedule, actor);
            let added = self.database.time(Statement::Schedules, added).await?;
            Ok((tx, added))
        });
        added.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn set_next(
        &self,
        name: &ScheduleName,
        paused: bool,
        next: Option<DateTime<Utc>>,
        actor: &str,
    ) -> Result<Option<JobSchedule>, PortError> {
        let set = self.database.transaction(Options::RETRIED, |mut tx: Tx| async move {
            let set = set_next(&mut tx, name, (paused, next), actor);
            let set = self.database.time(Statement::Schedules, set).await?;
            Ok((tx, set))
        });
        set.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn remove(
        &self,
        name: &ScheduleName,
        actor: &str,
    ) -> Result<Option<JobSchedule>, PortError> {
        let removed = self.database.transaction(Options::RETRIED, |mut tx: Tx| async move {
            let removed = remove(&mut tx, name, actor);
            let removed = self.database.time(Statement::Schedules, removed).await?;
            Ok((tx, removed))
        });
        removed.await.map_err(|error| error.into_port_error(WHAT))
    }
}

async fn add(
    connection: &mut PgConnection,
    schedule: &JobSchedule,
    actor: &str,
) -> Result<AddedSchedule, sqlx::Error> {
    let (is_left, is_added): (bool, bool) = sqlx::query_as(ADD)
        .bind(schedule.name.as_str())
        .bind(&schedule.cron)
        .bind(&schedule.time_zone)
        .bind(&schedule.job_type)
        .bind(i32::try_from(schedule.payload_version).unwrap_or(i32::MAX))
        .bind(&schedule.payload)
        .bind(schedule.next_run_at)
        .fetch_one(&mut *connection)
        .await?;
    if !is_added {
        return Ok(if is_left { AddedSchedule::Exists } else { AddedSchedule::TooMany });
    }
    let record = Change { action: "schedule_added", before: None, after: Some(schedule) };
    record.write(connection, (&schedule.name, actor)).await?;
    Ok(AddedSchedule::Added)
}

async fn set_next(
    connection: &mut PgConnection,
    name: &ScheduleName,
    (paused, next): (bool, Option<DateTime<Utc>>),
    actor: &str,
) -> Result<Option<JobSchedule>, sqlx::Error> {
    let locked = sqlx::query_as(LOCK).bind(name.as_str()).fetch_optional(&mut *connection).await?;
    let Some(before) = locked.map(readable).transpose()? else { return Ok(None) };
    if before.paused == paused {
        return Ok(Some(before));
    }
    let set = sqlx::query_as(SET_NEXT).bind(name.as_str()).bind(paused).bind(next);
    let after = readable(set.fetch_one(&mut *connection).await?)?;
    let action = if paused { "schedule_paused" } else { "schedule_resumed" };
    let record = Change { action, before: Some(&before), after: Some(&after) };
    record.write(connection, (name, actor)).await?;
    Ok(Some(after))
}

async fn remove(
    connection: &mut PgConnection,
    name: &ScheduleName,
    actor: &str,
) -> Result<Option<JobSchedule>, sqlx::Error> {
    let removed = sqlx::query_as(REMOVE).bind(name.as_str());
    let removed = removed.fetch_optional(&mut *connection).await?;
    let Some(before) = removed.map(readable).transpose()? else { return Ok(None) };
    let record = Change { action: "schedule_removed", before: Some(&before), after: None };
    record.write(connection, (name, actor)).await?;
    Ok(Some(before))
}

fn readable(row: ScheduleRow) -> Result<JobSchedule, sqlx::Error> {
    row.schedule().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A change of a schedule, for the audit.
struct Change<'s> {
    action: &'static str,
    before: Option<&'s JobSchedule>,
    after: Option<&'s JobSchedule>,
}

impl Change<'_> {
    async fn write(
        &self,
        connection: &mut PgConnection,
        (name, actor): (&ScheduleName, &str),
    ) -> Result<(), sqlx::Error> {
        let record = OperatorRecord {
            action: self.action,
            actor,
            subject: format!("schedule {name}"),
            before: self.before.map_or(Value::Null, shown),
            after: self.after.map_or(Value::Null, shown),
        };
        record.write(connection).await
    }
}

/// A schedule in the audit.
fn shown(schedule: &JobSchedule) -> Value {
    json!({
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "type": schedule.job_type,
        "paused": schedule.paused,
        "next_run_at": schedule.next_run_at.map(rfc3339),
    })
}
