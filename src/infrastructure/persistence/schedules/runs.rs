//! Runs schedules: the job and the next time in one transaction.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Row;

use super::row::{ScheduleRow, schedule_columns};
use crate::application::ports::{DueSchedules, Enqueued, PortError, ScheduleRun, ScheduleRuns};
use crate::domain::job::{JobId, ScheduleName};
use crate::infrastructure::persistence::jobs::enqueue::enqueue;
use crate::infrastructure::persistence::operation::record::OperatorRecord;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};

const WHAT: &str = "the schedules";

pub(crate) const DUE: &str = concat!(
    "SELECT ",
    schedule_columns!(),
    r", statement_timestamp() AS now
    FROM schedules
    WHERE next_run_at <= statement_timestamp()
    ORDER BY next_run_at
    LIMIT 1000"
);

/// The condition makes one instance the first: all others see another time, or none.
const MOVE: &str = r"
    UPDATE schedules
    SET next_run_at = $3, last_run_at = clock_timestamp(), last_outcome = 'enqueued'
    WHERE name = $1 AND next_run_at = $2
";

const RUN_BY_HAND: &str = r"
    UPDATE schedules SET last_run_at = clock_timestamp(), last_outcome = 'enqueued' WHERE name = $1
";

const SET_JOB: &str = "UPDATE schedules SET last_job_id = $2 WHERE name = $1";

const FINISHED: &str =
    "UPDATE schedules SET last_outcome = $3 WHERE name = $1 AND last_job_id = $2";

/// Runs schedules.
pub(crate) struct PostgresScheduleRuns {
    database: Database,
}

impl PostgresScheduleRuns {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    async fn in_transaction(
        &self,
        mut tx: Tx,
        run: &ScheduleRun,
    ) -> Result<(Tx, Option<Enqueued>), DatabaseError> {
        let query = if let Some((due, next)) = run.moves {
            sqlx::query(MOVE).bind(run.name.as_str()).bind(due).bind(next)
        } else {
            sqlx::query(RUN_BY_HAND).bind(run.name.as_str())
        };
        let moved = self.database.time(Statement::Schedules, query.execute(&mut *tx)).await?;
        if moved.rows_affected() == 0 {
            return Ok((tx, None));
        }
        let enqueued = enqueue(&mut tx, &run.job).await;
        let enqueued = enqueued.map_err(|error| self.database.record(error))?;
        let query = sqlx::query(SET_JOB).bind(run.name.as_str()).bind(enqueued.job.id.get());
        self.database.time(Statement::Schedules, query.execute(&mut *tx)).await?;
        if let Some(actor) = &run.actor {
            let record = OperatorRecord {
                action: "schedule_ran",
                actor,
                subject: format!("schedule {}", run.name),
                before: Value::Null,
                after: json!({ "job_id": enqueued.job.id.get() }),
            };
            self.database.time(Statement::Schedules, record.write(&mut tx)).await?;
        }
        Ok((tx, Some(enqueued)))
    }
}

#[async_trait]
impl ScheduleRuns for PostgresScheduleRuns {
    async fn due(&self) -> Result<DueSchedules, PortError> {
        let query = || sqlx::query(DUE).fetch_all(self.database.pool());
        let rows = self.database.read_as(Statement::Schedules, WHAT, query).await?;
        let mut due = DueSchedules { now: DateTime::UNIX_EPOCH, schedules: Vec::new() };
        for row in rows {
            let read = |error: sqlx::Error| DatabaseError::from(error).into_port_error(WHAT);
            due.now = row.try_get::<DateTime<Utc>, _>("now").map_err(read)?;
            let schedule = <ScheduleRow as sqlx::FromRow<_>>::from_row(&row).map_err(read)?;
            due.schedules.push(schedule.schedule().map_err(|error| error.into_port_error(WHAT))?);
        }
        Ok(due)
    }

    async fn run(&self, run: &ScheduleRun) -> Result<Option<Enqueued>, PortError> {
        let ran = self.database.transaction(Options::RETRIED, |tx| self.in_transaction(tx, run));
        ran.await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn finished(
        &self,
        name: &ScheduleName,
        job: JobId,
        outcome: &'static str,
    ) -> Result<(), PortError> {
        let finished = self.database.transaction(Options::RETRIED, |mut tx| async move {
            let query = sqlx::query(FINISHED).bind(name.as_str()).bind(job.get()).bind(outcome);
            self.database.time(Statement::Schedules, query.execute(&mut *tx)).await?;
            Ok((tx, ()))
        });
        finished.await.map_err(|error| error.into_port_error(WHAT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::a_new_job;
    use crate::testing::servers::PostgresShop;

    const ADD: &str = "INSERT INTO schedules (name, cron, time_zone, job_type, payload_version, payload, next_run_at)
                       VALUES ('due', '* * * * * *', 'UTC', 'noop', 1, '{}', date_trunc('second', now()))
                       RETURNING next_run_at";

    #[tokio::test]
    async fn a_run_of_a_schedule_is_enqueued_by_one_instance_and_moves_it() {
        let shop = PostgresShop::open().await;
        shop.execute("DELETE FROM schedules").await;
        let due: DateTime<Utc> = sqlx::query_scalar(ADD).fetch_one(&shop.pool).await.unwrap();
        let next = due + chrono::Duration::hours(1);
        let name = ScheduleName::parse("due").unwrap();
        let run = ScheduleRun {
            name: name.clone(),
            moves: Some((due, Some(next))),
            // Without a key: the schedule alone must see to it.
            job: a_new_job(),
            actor: None,
        };
        let (one, other) = (shop.database().await, shop.database().await);
        let (one, other) = (PostgresScheduleRuns::new(one), PostgresScheduleRuns::new(other));
        assert_eq!(one.due().await.unwrap().schedules.len(), 1);

        let all = futures_util::future::join_all(
            (0..6).map(|n| if n % 2 == 0 { one.run(&run) } else { other.run(&run) }),
        )
        .await;

        let ran: Vec<Enqueued> = all.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(ran.len(), 1);
        let jobs = "SELECT count(*) FROM river_job";
        let jobs: i64 = sqlx::query_scalar(jobs).fetch_one(&shop.pool).await.unwrap();
        assert_eq!((jobs, one.due().await.unwrap().schedules), (1, vec![]));
        one.finished(&name, ran[0].job.id, "succeeded").await.unwrap();
        let outcome = "SELECT last_outcome FROM schedules WHERE name = 'due' AND next_run_at = $1";
        let outcome: String =
            sqlx::query_scalar(outcome).bind(next).fetch_one(&shop.pool).await.unwrap();
        assert_eq!(outcome, "succeeded");
    }

    #[tokio::test]
    async fn a_row_that_another_one_holds_for_long_costs_neither_a_run_nor_its_outcome() {
        let shop = PostgresShop::open().await;
        shop.execute("DELETE FROM schedules").await;
        shop.execute(ADD).await;
        let runs = PostgresScheduleRuns::new(shop.database().await);
        let by_hand = ScheduleRun {
            name: ScheduleName::parse("due").unwrap(),
            moves: None,
            job: a_new_job(),
            actor: Some("eve".to_owned()),
        };
        shop.lose_next_lock("schedules").await;

        let ran = runs.run(&by_hand).await.unwrap().unwrap();
        shop.execute("ALTER SEQUENCE writes_of_schedules RESTART").await;
        runs.finished(&by_hand.name, ran.job.id, "succeeded").await.unwrap();

        let outcome = "SELECT last_outcome FROM schedules WHERE name = 'due'";
        let outcome: String = sqlx::query_scalar(outcome).fetch_one(&shop.pool).await.unwrap();
        let jobs: i64 = sqlx::query_scalar("SELECT count(*) FROM river_job")
            .fetch_one(&shop.pool)
            .await
            .unwrap();
        assert_eq!((outcome.as_str(), jobs), ("succeeded", 1));
    }
}
