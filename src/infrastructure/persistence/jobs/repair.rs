//! What operators do with jobs, and the end of those that are not needed any more.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::notify;
use super::row::{JobRow, job_columns};
use crate::application::ports::{Job, JobChange, JobRepair, PortError, PutBack};
use crate::domain::job::{JobId, JobState};
use crate::infrastructure::persistence::operation::record::OperatorRecord;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::pool::tx::Options;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the jobs";
/// Maximum number of jobs that one statement deletes.
const PRUNE_STEP: i64 = 5_000;
/// Maximum number of statements of one pruning.
const PRUNE_STEPS: usize = 200;
/// Workers that ended without a word are forgotten after this time.
const KEEP_WORKERS: Duration = Duration::from_hours(1);

/// A worker that claims jobs passes over one that is locked.
const LOCK: &str = concat!("SELECT ", job_columns!(), " FROM river_job WHERE id = $1 FOR UPDATE");

const RETRY: &str = concat!(
    r"
    WITH retried AS (
        UPDATE river_job
        SET state = 'available', attempt = 0, finalized_at = NULL, scheduled_at = clock_timestamp()
        WHERE id = $1 AND state IN ('discarded', 'cancelled', 'retryable', 'scheduled', 'pending')
        RETURNING *
    )
    SELECT ",
    job_columns!(),
    ", ",
    notify!("queue"),
    " AS notified FROM retried"
);

/// Of dead jobs with one key the first is put back, unless another job has the key.
const RETRY_DEAD: &str = concat!(
    r"
    WITH dead AS MATERIALIZED (
        SELECT id, unique_key
        FROM river_job
        WHERE state = 'discarded' AND id > $2 AND ($1::text IS NULL OR kind = $1)
        ORDER BY id
        LIMIT $3
        FOR UPDATE SKIP LOCKED
    ), ranked AS (
        SELECT id, unique_key, row_number() OVER (PARTITION BY unique_key ORDER BY id) AS place
        FROM dead
    ), free AS MATERIALIZED (
        SELECT r.id
        FROM ranked AS r
        WHERE r.unique_key IS NULL
           OR (r.place = 1 AND NOT EXISTS (
                  SELECT
                  FROM river_job AS o
                  WHERE o.unique_key = r.unique_key AND o.unique_states IS NOT NULL
                    AND river_job_state_in_bitmask(o.unique_states, o.state)
              ))
    ), retried AS (
        UPDATE river_job AS j
        SET state = 'available', attempt = 0, finalized_at = NULL, scheduled_at = clock_timestamp()
        FROM free
        WHERE j.id = free.id
        RETURNING j.queue
    ), told AS (
        SELECT ",
    notify!("queue"),
    r" AS notified FROM (SELECT DISTINCT queue FROM retried) AS q
    )
    SELECT (SELECT count(*) FROM dead) AS looked_at, (SELECT count(*) FROM retried) AS retried,
           (SELECT max(id) FROM dead) AS last, (SELECT count(notified) FROM told) AS told"
);

const DISCARD: &str = concat!(
    "DELETE FROM river_job WHERE id = $1 AND state <> 'running' RETURNING ",
    job_columns!()
);

pub(crate) const PRUNE_DONE: &str = r"
    DELETE FROM river_job
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM river_job
        WHERE state = 'completed' AND finalized_at < statement_timestamp() - make_interval(secs => $1)
        ORDER BY finalized_at
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
";

pub(crate) const PRUNE_DEAD: &str = r"
    DELETE FROM river_job
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM river_job
        WHERE state = 'discarded' AND finalized_at < statement_timestamp() - make_interval(secs => $1)
        ORDER BY finalized_at
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
";

const PRUNE_WORKERS: &str =
    "DELETE FROM job_workers WHERE seen_at < statement_timestamp() - make_interval(secs => $1)";

from_row! {
    #[derive(Debug)]
    struct StepRow {
        looked_at: i64,
        retried: i64,
        last: Option<i64>,
    }
}

/// What an operator does with one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Retry,
    Discard,
}

/// Repairs and prunes jobs.
pub(crate) struct PostgresJobRepair {
    database: Database,
}

impl PostgresJobRepair {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    async fn change(
        &self,
        id: JobId,
        change: Change,
        actor: &str,
    ) -> Result<JobChange, DatabaseError> {
        let changed = self.database.transaction(Options::RETRIED, |mut tx| async move {
            let since = std::time::Instant::now();
            let changed = change_on_record(&mut tx, id, change, actor).await;
            self.database.timed(Statement::Jobs, since.elapsed());
            Ok((tx, changed.map_err(|error| self.database.record(error))?))
        });
        match changed.await {
            Err(error) if error.is_job_key_in_use() => Ok(JobChange::KeyInUse),
            changed => changed,
        }
    }

    async fn delete(&self, statement: &'static str, keep: Duration) -> Result<u64, DatabaseError> {
        let mut deleted = 0;
        for _ in 0..PRUNE_STEPS {
            let step = async {
                let mut connection = self.database.acquire().await?;
                let query = sqlx::query(statement).bind(keep.as_secs_f64()).bind(PRUNE_STEP);
                self.database.time(Statement::PruneJobs, query.execute(&mut *connection)).await
            };
            let step = self.database.within(self.database.answer_timeout(), step).await?;
            deleted += step.rows_affected();
            if step.rows_affected() < PRUNE_STEP.unsigned_abs() {
                break;
            }
        }
        Ok(deleted)
    }
}

#[async_trait]
impl JobRepair for PostgresJobRepair {
    async fn retry(&self, id: JobId, actor: &str) -> Result<JobChange, PortError> {
        self.change(id, Change::Retry, actor).await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn retry_dead(
        &self,
        job_type: Option<String>,
        after: Option<JobId>,
        limit: u32,
        actor: &str,
    ) -> Result<PutBack, PortError> {
        let job_type = job_type.as_deref();
        let step = self.database.transaction(Options::RETRIED, |mut tx| async move {
            let query = sqlx::query_as(RETRY_DEAD)
                .bind(job_type)
                .bind(after.map_or(0, JobId::get))
                .bind(i64::from(limit))
                .fetch_one(&mut *tx);
            let step: StepRow = self.database.time(Statement::Jobs, query).await?;
            if step.retried > 0 {
                let record = OperatorRecord {
                    action: "jobs_retried",
                    actor,
                    subject: job_type.map_or_else(
                        || "dead jobs".to_owned(),
                        |name| format!("dead jobs of type {name}"),
                    ),
                    before: Value::Null,
                    after: json!({ "retried": step.retried }),
                };
                self.database.time(Statement::Jobs, record.write(&mut tx)).await?;
            }
            Ok((tx, step))
        });
        let step = step.await.map_err(|error| error.into_port_error(WHAT))?;
        Ok(PutBack {
            retried: step.retried.unsigned_abs(),
            left: step.looked_at.saturating_sub(step.retried).unsigned_abs(),
            last: step.last.and_then(JobId::new),
        })
    }

    async fn discard(&self, id: JobId, actor: &str) -> Result<JobChange, PortError> {
        self.change(id, Change::Discard, actor).await.map_err(|error| error.into_port_error(WHAT))
    }

    async fn prune(&self, keep_done: Duration, keep_dead: Duration) -> Result<u64, PortError> {
        let prune = async {
            let done = self.delete(PRUNE_DONE, keep_done).await?;
            let dead = self.delete(PRUNE_DEAD, keep_dead).await?;
            let mut connection = self.database.acquire().await?;
            let workers = sqlx::query(PRUNE_WORKERS).bind(KEEP_WORKERS.as_secs_f64());
            self.database.time(Statement::PruneJobs, workers.execute(&mut *connection)).await?;
            Ok(done + dead)
        };
        prune.await.map_err(|error: DatabaseError| error.into_port_error(WHAT))
    }
}

async fn change_on_record(
    connection: &mut PgConnection,
    id: JobId,
    change: Change,
    actor: &str,
) -> Result<JobChange, DatabaseError> {
    let locked: Option<JobRow> =
        sqlx::query_as(LOCK).bind(id.get()).fetch_optional(&mut *connection).await?;
    let Some(before) = locked.map(JobRow::job).transpose()? else {
        return Ok(JobChange::NotFound);
    };
    let statement = match change {
        // What waits already is what the operator wants.
        Change::Retry if before.state == JobState::Waiting => {
            return Ok(JobChange::Changed(before));
        }
        Change::Retry => RETRY,
        Change::Discard => DISCARD,
    };
    let changed: Option<JobRow> =
        sqlx::query_as(statement).bind(id.get()).fetch_optional(&mut *connection).await?;
    let Some(job) = changed.map(JobRow::job).transpose()? else {
        return Ok(JobChange::WrongState(before.state));
    };
    let shown = |job: &Job| json!({ "type": job.job_type, "state": job.state.as_str(), "attempts": job.attempts });
    let record = OperatorRecord {
        action: match change {
            Change::Retry => "job_retried",
            Change::Discard => "job_discarded",
        },
        actor,
        subject: format!("job {id}"),
        before: shown(&before),
        after: if change == Change::Retry { shown(&job) } else { Value::Null },
    };
    record.write(connection).await?;
    Ok(JobChange::Changed(job))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::{JobQueue, NewJob};
    use crate::domain::job::JobKey;
    use crate::infrastructure::persistence::jobs::enqueue::PostgresJobQueue;
    use crate::testing::builders::a_new_job;
    use crate::testing::servers::PostgresShop;

    const DIE: &str = "UPDATE river_job SET state = 'discarded', attempt = 3, finalized_at = now()";

    #[tokio::test]
    async fn a_dead_job_whose_key_another_job_has_stays_dead() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (queue, repair) =
            (PostgresJobQueue::new(database.clone()), PostgresJobRepair::new(database));
        let keyed = NewJob { key: JobKey::parse("once"), ..a_new_job() };
        let mut dead = Vec::new();
        for job in [&keyed, &keyed, &a_new_job()] {
            dead.push(queue.enqueue(job, "eve").await.unwrap().job.id);
            shop.execute(DIE).await;
        }
        let holder = queue.enqueue(&keyed, "eve").await.unwrap().job.id;

        let held = repair.retry_dead(None, None, 10, "eve").await.unwrap();
        let one = repair.retry(dead[0], "eve").await.unwrap();
        repair.discard(holder, "eve").await.unwrap();
        let free = repair.retry_dead(None, None, 10, "eve").await.unwrap();

        assert_eq!(held, PutBack { retried: 1, left: 2, last: Some(dead[2]) });
        assert_eq!(one, JobChange::KeyInUse);
        // One of the two.
        assert_eq!(free, PutBack { retried: 1, left: 1, last: Some(dead[1]) });
    }

    #[tokio::test]
    async fn a_row_that_a_worker_holds_for_long_fails_no_operator() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (queue, repair) =
            (PostgresJobQueue::new(database.clone()), PostgresJobRepair::new(database));
        shop.lose_next_lock("river_job").await;

        let job = queue.enqueue(&a_new_job(), "eve").await.unwrap().job.id;
        shop.execute(DIE).await;
        shop.execute("ALTER SEQUENCE writes_of_river_job RESTART").await;
        let discarded = repair.discard(job, "eve").await.unwrap();

        assert!(matches!(discarded, JobChange::Changed(_)), "{discarded:?}");
    }

    #[tokio::test]
    async fn only_what_ended_long_ago_is_pruned() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (queue, repair) =
            (PostgresJobQueue::new(database.clone()), PostgresJobRepair::new(database));
        for _ in 0..5 {
            queue.enqueue(&a_new_job(), "eve").await.unwrap();
        }
        shop.execute(
            "UPDATE river_job SET finalized_at = now() - interval '1 minute' * id, state = 'completed' WHERE id <= 2;
             UPDATE river_job SET finalized_at = now() - interval '1 hour' * id, state = 'discarded' WHERE id IN (3, 4)",
        )
        .await;

        let keep = (Duration::from_secs(90), Duration::from_mins(181));
        let pruned = repair.prune(keep.0, keep.1).await.unwrap();

        let left = "SELECT array_agg(id ORDER BY id) FROM river_job";
        let left: Vec<i64> = sqlx::query_scalar(left).fetch_one(&shop.pool).await.unwrap();
        assert_eq!((pruned, left), (2, vec![1, 3, 5]));
    }
}
