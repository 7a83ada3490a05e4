//! Enqueues jobs.

use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::notify;
use super::row::{JobRow, job_columns, number_of};
use crate::application::ports::{Enqueued, JobQueue, NewJob, PortError};
use crate::domain::job::ScheduleName;
use crate::domain::time_text::rfc3339;
use crate::infrastructure::persistence::operation::record::OperatorRecord;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;

const WHAT: &str = "the job queue";
/// How often the job that has the key may have ended between the insert and the look at it.
const TRIES: usize = 5;

/// The states in which a key is unique are all but dead and cancelled. A worker that listens is notified at the commit.
const INSERT: &str = concat!(
    r"
    WITH inserted AS (
        INSERT INTO river_job (
            kind, args, priority, queue, max_attempts, state, scheduled_at, metadata, unique_key, unique_states
        )
        SELECT $1, jsonb_build_object('version', $2::int, 'payload', $3::jsonb), $4, $5, $6,
               CASE WHEN $7::float8 > 0 THEN 'scheduled' ELSE 'available' END::river_job_state,
               clock_timestamp() + make_interval(secs => $7),
               CASE WHEN $8::text IS NULL THEN '{}' ELSE jsonb_build_object('schedule', $8) END,
               $9::bytea, CASE WHEN $9 IS NOT NULL THEN B'11110101' END
        ON CONFLICT (unique_key)
            WHERE unique_key IS NOT NULL AND unique_states IS NOT NULL
              AND river_job_state_in_bitmask(unique_states, state)
            DO NOTHING
        RETURNING *
    )
    SELECT ",
    job_columns!(),
    ", CASE WHEN state = 'available' THEN ",
    notify!("queue"),
    " END AS notified
    FROM inserted"
);

const FIND_BY_KEY: &str = concat!(
    "SELECT ",
    job_columns!(),
    r" FROM river_job
    WHERE unique_key = $1 AND unique_states IS NOT NULL AND river_job_state_in_bitmask(unique_states, state)"
);

/// Enqueues a job in the caller's transaction: it exists if and when that commits.
pub(crate) async fn enqueue(
    connection: &mut PgConnection,
    job: &NewJob,
) -> Result<Enqueued, DatabaseError> {
    let key = job.key.as_ref().map(|key| hash(job.work.job_type, key.as_str()));
    for _ in 0..TRIES {
        let inserted: Option<JobRow> = sqlx::query_as(INSERT)
            .bind(job.work.job_type)
            .bind(i32::try_from(job.work.version).unwrap_or(i32::MAX))
            .bind(&job.work.payload)
            .bind(number_of(job.priority))
            .bind(job.work.queue)
            .bind(i16::try_from(job.work.max_attempts).unwrap_or(i16::MAX))
            .bind(job.delay.as_secs_f64())
            .bind(job.schedule.as_ref().map(ScheduleName::as_str))
            .bind(key.as_deref())
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = inserted {
            return Ok(Enqueued { job: row.job()?, is_new: true });
        }
        // A later statement: it sees the other job also if that was committed after this transaction began.
        let existing: Option<JobRow> = sqlx::query_as(FIND_BY_KEY)
            .bind(key.as_deref())
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = existing {
            return Ok(Enqueued { job: row.job()?, is_new: false });
        }
    }
    Err(DatabaseError::Unreadable("river_job_unique_idx"))
}

/// Enqueues a job for an operator. Nothing has changed if another job has its key.
async fn enqueue_on_record(
    connection: &mut PgConnection,
    job: &NewJob,
    actor: &str,
) -> Result<Enqueued, DatabaseError> {
    let enqueued = enqueue(connection, job).await?;
    if enqueued.is_new {
        let Enqueued { job, .. } = &enqueued;
        let record = OperatorRecord {
            action: "job_enqueued",
            actor,
            subject: format!("job {}", job.id),
            before: Value::Null,
            after: json!({
                "type": job.job_type,
                "priority": job.priority.as_str(),
                "run_at": rfc3339(job.run_at),
            }),
        };
        record.write(connection).await?;
    }
    Ok(enqueued)
}

/// The type is part of it: types do not know each other's keys.
fn hash(job_type: &str, key: &str) -> Vec<u8> {
    Sha256::new().chain_update(job_type).chain_update([0]).chain_update(key).finalize().to_vec()
}

/// Enqueues jobs in transactions of their own.
pub(crate) struct PostgresJobQueue {
    database: Database,
}

impl PostgresJobQueue {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl JobQueue for PostgresJobQueue {
    async fn enqueue(&self, job: &NewJob, actor: &str) -> Result<Enqueued, PortError> {
        let enqueued = self.database.transaction(Options::RETRIED, |mut tx| async move {
            let since = std::time::Instant::now();
            let enqueued = enqueue_on_record(&mut tx, job, actor).await;
            self.database.timed(Statement::Jobs, since.elapsed());
            Ok((tx, enqueued.map_err(|error| self.database.record(error))?))
        });
        enqueued.await.map_err(|error| error.into_port_error(WHAT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::JobKey;
    use crate::testing::builders::a_new_job;
    use crate::testing::servers::PostgresShop;

    fn with_key(key: &str) -> NewJob {
        NewJob { key: JobKey::parse(key), ..a_new_job() }
    }

    #[tokio::test]
    async fn a_key_has_one_job_from_any_instance_at_once() {
        let shop = PostgresShop::open().await;
        let (one, other) = (shop.database().await, shop.database().await);
        let (one, other) = (PostgresJobQueue::new(one), PostgresJobQueue::new(other));
        let job = with_key("once");

        let all = futures_util::future::join_all((0..8).map(|n| {
            if n % 2 == 0 { one.enqueue(&job, "eve") } else { other.enqueue(&job, "eve") }
        }))
        .await;

        let all: Vec<Enqueued> = all.into_iter().map(Result::unwrap).collect();
        assert_eq!(all.iter().filter(|enqueued| enqueued.is_new).count(), 1);
        assert!(all.iter().all(|enqueued| enqueued.job.id == all[0].job.id));
    }

    #[tokio::test]
    async fn the_key_of_a_dead_job_is_free() {
        let shop = PostgresShop::open().await;
        let queue = PostgresJobQueue::new(shop.database().await);
        let first = queue.enqueue(&with_key("once"), "eve").await.unwrap().job.id;
        shop.execute("UPDATE river_job SET state = 'discarded', finalized_at = now()").await;

        let second = queue.enqueue(&with_key("once"), "eve").await.unwrap();

        assert!(second.is_new && second.job.id != first);
    }

    #[tokio::test]
    async fn a_job_is_there_if_and_when_the_callers_transaction_commits() {
        let shop = PostgresShop::open().await;
        let count = async || -> i64 {
            let count = "SELECT count(*) FROM river_job";
            sqlx::query_scalar(count).fetch_one(&shop.pool).await.unwrap()
        };

        let mut rolled_back = shop.pool.begin().await.unwrap();
        enqueue(&mut rolled_back, &a_new_job()).await.unwrap();
        rolled_back.rollback().await.unwrap();
        let mut committed = shop.pool.begin().await.unwrap();
        enqueue(&mut committed, &a_new_job()).await.unwrap();
        let before = count().await;
        committed.commit().await.unwrap();

        assert_eq!((before, count().await), (0, 1));
    }
}
