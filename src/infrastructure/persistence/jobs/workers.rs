//! What workers do with jobs besides running them.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::notify;
use super::row::state_of;
use crate::application::ports::{AttemptEnd, EndedAttempt, PortError, TakenOver, WorkerJobs};
use crate::domain::job::{JobId, ScheduleName};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the job queue";
/// No statement here may take longer: a lease ends after two and a half seconds.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) const RENEW: &str = r"
    INSERT INTO job_workers (name, seen_at)
    VALUES ($1, clock_timestamp())
    ON CONFLICT ON CONSTRAINT job_workers_pkey DO UPDATE SET seen_at = excluded.seen_at
";

const RELEASE: &str = "DELETE FROM job_workers WHERE name = $1";

/// A job whose worker died once runs again at once. If that happens again, the job may be what kills its workers: then it waits as
/// after any other failure. The schedule of one that is dead learns it here, because nothing else reports it.
pub(crate) const TAKE_OVER: &str = concat!(
    r"
    WITH lost AS MATERIALIZED (
        SELECT j.id, j.attempted_by[array_upper(j.attempted_by, 1)] AS worker, j.metadata ? 'taken_over' AS again,
               j.attempt >= j.max_attempts AS is_last
        FROM river_job AS j
        WHERE j.state = 'running'
          AND j.attempted_at < statement_timestamp() - make_interval(secs => $1)
          AND NOT EXISTS (
              SELECT
              FROM job_workers AS w
              WHERE w.name = j.attempted_by[array_upper(j.attempted_by, 1)]
                AND w.seen_at >= statement_timestamp() - make_interval(secs => $1)
          )
        LIMIT 1000
        FOR UPDATE OF j SKIP LOCKED
    ), taken AS (
        UPDATE river_job AS j
        SET state = CASE WHEN is_last THEN 'discarded' WHEN again THEN 'retryable' ELSE 'available' END::river_job_state,
            finalized_at = CASE WHEN is_last THEN clock_timestamp() END,
            scheduled_at = CASE WHEN again AND NOT is_last THEN clock_timestamp()
                + make_interval(secs => least(2.0 ^ (attempt - 1), 3600) * (0.75 + random() / 2))
                ELSE j.scheduled_at END,
            errors = array_append(j.errors, jsonb_build_object(
                'at', clock_timestamp(), 'attempt', attempt, 'trace', '',
                'error', 'its worker ' || coalesce(lost.worker, '') || ' died')),
            metadata = j.metadata || jsonb_build_object('taken_over', clock_timestamp())
        FROM lost
        WHERE j.id = lost.id AND j.state = 'running'
        RETURNING j.id, j.kind, j.state, j.queue, j.attempt, j.metadata->>'schedule' AS schedule,
                  coalesce(lost.worker, '') AS worker
    ), reported AS (
        UPDATE schedules AS s
        SET last_outcome = 'dead'
        FROM taken
        WHERE taken.state = 'discarded' AND s.name = taken.schedule AND s.last_job_id = taken.id
    )
    SELECT id, kind, state::text AS state, attempt, schedule, worker, CASE WHEN state = 'available' THEN ",
    notify!("queue"),
    " END AS notified
    FROM taken"
);

pub(crate) const PROMOTE: &str = concat!(
    r"
    WITH due AS MATERIALIZED (
        SELECT id
        FROM river_job
        WHERE state IN ('retryable', 'scheduled') AND scheduled_at <= statement_timestamp()
        ORDER BY scheduled_at
        LIMIT 1000
        FOR UPDATE SKIP LOCKED
    ), promoted AS (
        UPDATE river_job AS j SET state = 'available' FROM due WHERE j.id = due.id RETURNING j.queue
    ), told AS (
        SELECT ",
    notify!("queue"),
    r" AS notified FROM (SELECT DISTINCT queue FROM promoted) AS q
    )
    SELECT (SELECT count(*) FROM promoted), (SELECT count(notified) FROM told)"
);

/// A repeat, after the answer was lost, finds the error on record.
const FAIL: &str = r"
    WITH ended AS (
        UPDATE river_job
        SET state = CASE WHEN $5::float8 IS NULL THEN 'discarded' ELSE 'retryable' END::river_job_state,
            finalized_at = CASE WHEN $5 IS NULL THEN clock_timestamp() END,
            scheduled_at = coalesce(clock_timestamp() + make_interval(secs => $5), scheduled_at),
            errors = array_append(errors, jsonb_build_object(
                'at', clock_timestamp(), 'attempt', attempt, 'error', $4::text, 'trace', ''))
        WHERE id = $1 AND state = 'running' AND attempt = $2 AND attempted_by[array_upper(attempted_by, 1)] = $3
        RETURNING id
    )
    SELECT EXISTS (SELECT FROM ended) OR EXISTS (
        SELECT
        FROM river_job
        WHERE id = $1 AND state IN ('discarded', 'retryable') AND attempt = $2
          AND attempted_by[array_upper(attempted_by, 1)] = $3
          AND errors[array_upper(errors, 1)]->>'error' = $4
    )
";

/// River would do this by the clock of its machine: where that is ahead, the job would wait until then.
const GIVE_BACK: &str = r"
    UPDATE river_job
    SET state = CASE WHEN $4 > 0 THEN 'scheduled' ELSE 'available' END::river_job_state,
        attempt = attempt - 1, scheduled_at = clock_timestamp() + make_interval(secs => $4)
    WHERE id = $1 AND state = 'running' AND attempt = $2 AND attempted_by[array_upper(attempted_by, 1)] = $3
    RETURNING true
";

from_row! {
    #[derive(Debug)]
    struct TakenRow {
        id: i64,
        kind: String,
        state: String,
        attempt: i16,
        schedule: Option<String>,
        worker: String,
    }
}

/// Leases, failures, and jobs that become due. On a pool of its own, so that no rush of buyers makes a worker look dead.
pub(crate) struct PostgresWorkerJobs {
    database: Database,
}

impl PostgresWorkerJobs {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    async fn write(&self, query: Query<'_, Postgres, PgArguments>) -> Result<(), PortError> {
        let write = async {
            let mut connection = self.database.acquire().await?;
            self.database.time(Statement::Jobs, query.execute(&mut *connection)).await.map(drop)
        };
        self.in_time(write).await
    }

    async fn in_time<T>(
        &self,
        run: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, PortError> {
        let done = self.database.within(TIMEOUT, run).await;
        done.map_err(|error| error.into_port_error(WHAT))
    }
}

#[async_trait]
impl WorkerJobs for PostgresWorkerJobs {
    async fn renew(&self, worker: &str) -> Result<(), PortError> {
        self.write(sqlx::query(RENEW).bind(worker)).await
    }

    async fn release(&self, worker: &str) -> Result<(), PortError> {
        self.write(sqlx::query(RELEASE).bind(worker)).await
    }

    async fn take_over(&self, lease: Duration) -> Result<Vec<TakenOver>, PortError> {
        let take = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query_as(TAKE_OVER).bind(lease.as_secs_f64());
            let query = query.fetch_all(&mut *connection);
            let rows: Vec<TakenRow> = self.database.time(Statement::Jobs, query).await?;
            let jobs = rows.into_iter().map(|row| {
                let unreadable = || DatabaseError::Unreadable("river_job");
                Ok(TakenOver {
                    id: JobId::new(row.id).ok_or_else(unreadable)?,
                    state: state_of(&row.state).ok_or_else(unreadable)?,
                    job_type: row.kind,
                    attempt: u16::try_from(row.attempt).map_err(|_| unreadable())?,
                    schedule: row.schedule.as_deref().and_then(ScheduleName::parse),
                    worker: row.worker,
                })
            });
            jobs.collect()
        };
        self.in_time(take).await
    }

    async fn promote(&self) -> Result<u64, PortError> {
        let promote = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query_as(PROMOTE).fetch_one(&mut *connection);
            let (promoted, _): (i64, i64) = self.database.time(Statement::Jobs, query).await?;
            Ok(promoted.unsigned_abs())
        };
        self.in_time(promote).await
    }

    async fn end(&self, ended: &EndedAttempt) -> Result<bool, PortError> {
        let statement = match ended.end {
            AttemptEnd::Failed { .. } => FAIL,
            AttemptEnd::GivenBack { .. } => GIVE_BACK,
        };
        let mut query = sqlx::query_scalar(statement)
            .bind(ended.id.get())
            .bind(i16::try_from(ended.attempt).unwrap_or(i16::MAX))
            .bind(&ended.worker);
        query = match &ended.end {
            AttemptEnd::Failed { error, retry_in } => {
                query.bind(error).bind(retry_in.map(|delay| delay.as_secs_f64()))
            }
            AttemptEnd::GivenBack { rests } => query.bind(rests.as_secs_f64()),
        };
        let end = async {
            let mut connection = self.database.acquire().await?;
            let query = query.fetch_optional(&mut *connection);
            let ended: Option<bool> = self.database.time(Statement::Jobs, query).await?;
            Ok(ended.unwrap_or(false))
        };
        self.in_time(end).await
    }
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::application::ports::{Job, JobQueue, JobReader, NewJob};
    use crate::domain::job::JobState;
    use crate::infrastructure::persistence::jobs::enqueue::PostgresJobQueue;
    use crate::infrastructure::persistence::jobs::reader::PostgresJobReader;
    use crate::testing::builders::a_new_job;
    use crate::testing::servers::PostgresShop;

    const LEASE: Duration = Duration::from_secs(3);

    struct World {
        shop: PostgresShop,
        database: Database,
        jobs: PostgresWorkerJobs,
    }

    impl World {
        async fn open() -> Self {
            let shop = PostgresShop::open().await;
            let database = shop.database().await;
            let jobs = PostgresWorkerJobs::new(database.clone());
            Self { shop, database, jobs }
        }

        /// A job that a worker claimed ten seconds ago, its `attempt`th of three.
        async fn claimed_by(&self, worker: &str, attempt: u16) -> JobId {
            let queue = PostgresJobQueue::new(self.database.clone());
            let id = queue.enqueue(&a_new_job(), "eve").await.unwrap().job.id;
            let claim = "UPDATE river_job SET state = 'running', attempt = $2, max_attempts = 3,
                             attempted_at = now() - interval '10 seconds', attempted_by = ARRAY['x', $3]
                         WHERE id = $1";
            let claim = sqlx::query(claim).bind(id.get()).bind(i16::try_from(attempt).unwrap());
            claim.bind(worker).execute(&self.shop.pool).await.unwrap();
            id
        }

        async fn job(&self, id: JobId) -> Job {
            let reader = PostgresJobReader::new(self.database.clone());
            reader.find(id).await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn only_the_jobs_of_workers_that_were_not_seen_are_taken() {
        let world = World::open().await;
        let (dead, alive) = (world.claimed_by("dead", 1).await, world.claimed_by("alive", 1).await);
        world.jobs.renew("dead").await.unwrap();
        world.shop.execute("UPDATE job_workers SET seen_at = now() - interval '4 seconds'").await;
        world.jobs.renew("alive").await.unwrap();

        let taken = world.jobs.take_over(LEASE).await.unwrap();

        let expected = TakenOver {
            id: dead,
            job_type: "noop".to_owned(),
            attempt: 1,
            schedule: None,
            worker: "dead".to_owned(),
            state: JobState::Waiting,
        };
        assert_eq!(taken, [expected]);
        let job = world.job(dead).await;
        assert_eq!((job.state, job.attempts), (JobState::Waiting, 1));
        assert_eq!(job.last_error.as_deref(), Some("its worker dead died"));
        assert_eq!(world.job(alive).await.state, JobState::Running);
    }

    #[tokio::test]
    async fn a_job_that_was_claimed_a_moment_ago_is_not_taken() {
        let world = World::open().await;
        let id = world.claimed_by("unseen", 1).await;
        world.shop.execute("UPDATE river_job SET attempted_at = now()").await;

        assert_eq!(world.jobs.take_over(LEASE).await.unwrap(), []);
        assert_eq!(world.job(id).await.state, JobState::Running);
    }

    #[tokio::test]
    async fn a_job_whose_workers_die_again_waits_and_is_dead_after_its_last_attempt() {
        let world = World::open().await;
        let (again, last) = (world.claimed_by("dead", 2).await, world.claimed_by("dead", 3).await);
        world.shop.execute(r#"UPDATE river_job SET metadata = '{"taken_over": "before"}'"#).await;

        world.jobs.take_over(LEASE).await.unwrap();

        let (again, last) = (world.job(again).await, world.job(last).await);
        assert_eq!((again.state, last.state), (JobState::Retrying, JobState::Dead));
        assert!(again.run_at > again.created_at && last.ended_at.is_some());
    }

    #[tokio::test]
    async fn the_schedule_of_a_job_that_dies_with_its_worker_learns_it() {
        let world = World::open().await;
        let (last, again) = (world.claimed_by("dead", 3).await, world.claimed_by("dead", 1).await);
        world.shop.execute(r#"UPDATE river_job SET metadata = '{"schedule": "prune-jobs"}'"#).await;
        let schedules = "UPDATE schedules SET last_outcome = 'enqueued', last_job_id = $1
                         WHERE name IN ('prune-jobs', 'prune-keys')";
        sqlx::query(schedules).bind(last.get()).execute(&world.shop.pool).await.unwrap();

        let taken = world.jobs.take_over(LEASE).await.unwrap();

        let schedule = ScheduleName::parse("prune-jobs");
        assert!(taken.iter().all(|job| job.schedule == schedule), "{taken:?}");
        let states = [last, again].map(|id| taken.iter().find(|job| job.id == id).unwrap().state);
        assert_eq!(states, [JobState::Dead, JobState::Waiting]);
        let outcomes = "SELECT array_agg(last_outcome ORDER BY name) FROM schedules
                        WHERE last_outcome IS NOT NULL";
        let outcomes: Vec<String> =
            sqlx::query_scalar(outcomes).fetch_one(&world.shop.pool).await.unwrap();
        assert_eq!(outcomes, ["dead", "enqueued"]);
    }

    #[tokio::test]
    async fn a_failure_is_recorded_only_by_the_worker_and_attempt_that_run_the_job() {
        let world = World::open().await;
        let id = world.claimed_by("mine", 2).await;
        let failed = |worker: &str, attempt| EndedAttempt {
            id,
            attempt,
            worker: worker.to_owned(),
            end: AttemptEnd::Failed {
                error: "no luck".to_owned(),
                retry_in: Some(Duration::from_mins(1)),
            },
        };

        assert!(!world.jobs.end(&failed("other", 2)).await.unwrap());
        assert!(!world.jobs.end(&failed("mine", 1)).await.unwrap());
        assert_eq!(world.job(id).await.state, JobState::Running);
        assert!(world.jobs.end(&failed("mine", 2)).await.unwrap());

        let job = world.job(id).await;
        assert_eq!((job.state, job.last_error.as_deref()), (JobState::Retrying, Some("no luck")));
        assert!((job.run_at - job.created_at).num_seconds() >= 59);
    }

    #[tokio::test]
    async fn a_failure_whose_answer_was_lost_is_recorded_once_and_confirmed() {
        let world = World::open().await;
        let id = world.claimed_by("mine", 2).await;
        let failed = |error: &str| EndedAttempt {
            id,
            attempt: 2,
            worker: "mine".to_owned(),
            end: AttemptEnd::Failed { error: error.to_owned(), retry_in: None },
        };

        assert!(world.jobs.end(&failed("no luck")).await.unwrap());
        assert!(world.jobs.end(&failed("no luck")).await.unwrap());
        assert!(!world.jobs.end(&failed("its worker mine died")).await.unwrap());

        let errors = "SELECT cardinality(errors) FROM river_job WHERE id = $1";
        let errors = sqlx::query_scalar(errors).bind(id.get()).fetch_one(&world.shop.pool).await;
        assert_eq!((world.job(id).await.state, errors.unwrap()), (JobState::Dead, 1));
    }

    #[tokio::test]
    async fn a_job_keeps_its_attempt_when_river_ends_an_earlier_one_or_a_marked_one() {
        let world = World::open().await;
        let id = world.claimed_by("mine", 2).await;
        let river = async |set: &str| {
            let ended = format!("UPDATE river_job SET {set} WHERE id = $1 AND state = 'running'");
            let ended =
                sqlx::query(AssertSqlSafe(ended)).bind(id.get()).execute(&world.shop.pool).await;
            ended.unwrap().rows_affected()
        };
        let failed = |attempt: u16| {
            format!(
                "state = 'retryable', errors = array_append(errors, '{{\"attempt\":{attempt}}}')"
            )
        };

        assert_eq!(river(&failed(1)).await, 0);
        assert_eq!(river("state = 'available', attempt = 0").await, 0);
        let marked = r#"metadata = metadata || '{"ended":true}'"#;
        assert_eq!(river(&format!("state = 'available', attempt = 1, {marked}")).await, 0);
        assert_eq!(river(&format!("{}, {marked}", failed(2))).await, 0);

        assert_eq!(world.job(id).await.state, JobState::Running);
        assert_eq!(river(&failed(2)).await, 1);
    }

    #[tokio::test]
    async fn a_job_that_is_given_back_waits_and_its_attempt_does_not_count() {
        let world = World::open().await;
        let id = world.claimed_by("mine", 2).await;
        let later = world.claimed_by("mine", 2).await;
        let ended = |worker: &str, id, rests| EndedAttempt {
            id,
            attempt: 2,
            worker: worker.to_owned(),
            end: AttemptEnd::GivenBack { rests },
        };

        assert!(!world.jobs.end(&ended("other", id, Duration::ZERO)).await.unwrap());
        assert!(world.jobs.end(&ended("mine", id, Duration::ZERO)).await.unwrap());
        assert!(world.jobs.end(&ended("mine", later, Duration::from_hours(1))).await.unwrap());

        let job = world.job(id).await;
        assert_eq!((job.state, job.attempts, job.last_error), (JobState::Waiting, 1, None));
        let job = world.job(later).await;
        assert_eq!((job.state, job.attempts, job.last_error), (JobState::Scheduled, 1, None));
    }

    #[tokio::test]
    async fn what_is_due_waits_for_a_worker_and_nothing_else() {
        let world = World::open().await;
        let queue = PostgresJobQueue::new(world.database.clone());
        let delayed = NewJob { delay: Duration::from_hours(1), ..a_new_job() };
        let due = queue.enqueue(&delayed, "eve").await.unwrap().job.id;
        let ahead = queue.enqueue(&delayed, "eve").await.unwrap().job.id;
        let past = "UPDATE river_job SET scheduled_at = now() - interval '1 second' WHERE id = $1";
        sqlx::query(past).bind(due.get()).execute(&world.shop.pool).await.unwrap();

        assert_eq!(world.jobs.promote().await.unwrap(), 1);

        let states = (world.job(due).await.state, world.job(ahead).await.state);
        assert_eq!(states, (JobState::Waiting, JobState::Scheduled));
    }
}
