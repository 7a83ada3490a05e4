//! Leases of workers, the jobs of those that have died, and jobs that become due.

use std::time::Duration;

use async_trait::async_trait;

use super::row::state_of;
use super::{in_time, notify, write};
use crate::application::ports::{PortError, TakenOver, WorkerJobs};
use crate::domain::job::{JobId, ScheduleName};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

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

/// Leases, and jobs that become due. On a pool of its own, so that no rush of buyers makes a worker look dead.
pub(crate) struct PostgresWorkerJobs {
    database: Database,
}

impl PostgresWorkerJobs {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl WorkerJobs for PostgresWorkerJobs {
    async fn renew(&self, worker: &str) -> Result<(), PortError> {
        write(&self.database, sqlx::query(RENEW).bind(worker)).await
    }

    async fn release(&self, worker: &str) -> Result<(), PortError> {
        write(&self.database, sqlx::query(RELEASE).bind(worker)).await
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
        in_time(&self.database, take).await
    }

    async fn promote(&self) -> Result<u64, PortError> {
        let promote = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query_as(PROMOTE).fetch_one(&mut *connection);
            let (promoted, _): (i64, i64) = self.database.time(Statement::Jobs, query).await?;
            Ok(promoted.unsigned_abs())
        };
        in_time(&self.database, promote).await
    }
}

#[cfg(test)]
mod tests {
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
