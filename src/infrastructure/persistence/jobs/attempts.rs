//! Claims jobs, and records how attempts end.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{in_time, notify, write};
use crate::application::ports::{
    ClaimedJob, FailedAttempt, JobAttempts, JobClaim, PortError, Wanted,
};
use crate::domain::job::{JobId, ScheduleName};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

/// By `ctid`, which needs no join: the plan is the same for any number of jobs. Of the workers that ran a job the last hundred are kept.
pub(crate) const CLAIM: &str = r"
    WITH waiting AS MATERIALIZED (
        SELECT ctid
        FROM river_job
        WHERE state = 'available' AND queue = $2 AND kind = ANY ($3)
        ORDER BY priority, scheduled_at, id
        LIMIT $4
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE river_job
        SET state = 'running', attempt = attempt + 1, attempted_at = statement_timestamp(),
            attempted_by = array_append(attempted_by[array_upper(attempted_by, 1) - 98 :], $1)
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM waiting))
        RETURNING id, kind, attempt, max_attempts, attempted_at, args::text AS arguments,
                  metadata->>'schedule' AS schedule, priority, scheduled_at
    )
    SELECT id, kind, attempt, max_attempts, attempted_at, arguments, schedule
    FROM claimed
    ORDER BY priority, scheduled_at, id
";

/// A claim whose answer was lost has ended by then.
pub(crate) const CLAIMED: &str = r"
    SELECT id, attempted_at
    FROM river_job
    WHERE state = 'running' AND attempted_at < statement_timestamp() - interval '3 seconds'
      AND queue = $2 AND attempted_by[array_upper(attempted_by, 1)] = $1
";

// The state as a text in what ends attempts, so that jobs are found by their numbers: in the index of running jobs each would be
// compared with all.
pub(crate) const SUCCEED: &str = r"
    UPDATE river_job
    SET state = 'completed', finalized_at = statement_timestamp()
    WHERE id = ANY ($1) AND state::text = 'running'
";

/// A repeat, after the answer was lost, finds the error on record.
pub(crate) const FAIL: &str = r"
    WITH failed AS (
        UPDATE river_job
        SET state = CASE WHEN $5::float8 IS NULL THEN 'discarded' ELSE 'retryable' END::river_job_state,
            finalized_at = CASE WHEN $5 IS NULL THEN clock_timestamp() END,
            scheduled_at = coalesce(clock_timestamp() + make_interval(secs => $5), scheduled_at),
            errors = array_append(errors, jsonb_build_object(
                'at', clock_timestamp(), 'attempt', attempt, 'error', $4::text, 'trace', ''))
        WHERE id = $2 AND state::text = 'running' AND attempted_at = $3 AND attempted_by[array_upper(attempted_by, 1)] = $1
        RETURNING id
    )
    SELECT EXISTS (SELECT FROM failed) OR EXISTS (
        SELECT
        FROM river_job
        WHERE id = $2 AND state IN ('discarded', 'retryable') AND attempted_at = $3
          AND attempted_by[array_upper(attempted_by, 1)] = $1
          AND errors[array_upper(errors, 1)]->>'error' = $4
    )
";

pub(crate) const GIVE_BACK: &str = concat!(
    r"
    WITH given AS (
        UPDATE river_job AS j
        SET state = 'available', attempt = j.attempt - 1
        FROM unnest($2::bigint[], $3::timestamptz[]) AS c(id, claimed_at)
        WHERE j.id = c.id AND j.state::text = 'running' AND j.attempted_at = c.claimed_at
          AND j.attempted_by[array_upper(j.attempted_by, 1)] = $1
        RETURNING j.queue
    )
    SELECT ",
    notify!("queue"),
    " FROM (SELECT DISTINCT queue FROM given) AS q"
);

from_row! {
    #[derive(Debug)]
    struct ClaimedRow {
        id: i64,
        kind: String,
        attempt: i16,
        max_attempts: i16,
        attempted_at: DateTime<Utc>,
        arguments: String,
        schedule: Option<String>,
    }
}

impl ClaimedRow {
    fn job(self) -> Result<ClaimedJob, DatabaseError> {
        let unreadable = || DatabaseError::Unreadable("river_job");
        let number = |number: i16| u16::try_from(number).map_err(|_| unreadable());
        Ok(ClaimedJob {
            claim: claim_of((self.id, self.attempted_at))?,
            job_type: self.kind,
            attempt: number(self.attempt)?,
            max_attempts: number(self.max_attempts)?,
            arguments: self.arguments,
            schedule: self.schedule.as_deref().and_then(ScheduleName::parse),
        })
    }
}

fn claim_of((id, claimed_at): (i64, DateTime<Utc>)) -> Result<JobClaim, DatabaseError> {
    let id = JobId::new(id).ok_or(DatabaseError::Unreadable("river_job"))?;
    Ok(JobClaim { id, claimed_at })
}

/// Attempts of jobs. On a pool of its own, so that no rush of buyers makes a worker look dead.
pub(crate) struct PostgresJobAttempts {
    database: Database,
}

impl PostgresJobAttempts {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl JobAttempts for PostgresJobAttempts {
    async fn claim(&self, worker: &str, wanted: Wanted<'_>) -> Result<Vec<ClaimedJob>, PortError> {
        let claim = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query_as(CLAIM)
                .bind(worker)
                .bind(wanted.queue)
                .bind(wanted.job_types)
                .bind(i64::try_from(wanted.at_most).unwrap_or(i64::MAX))
                .fetch_all(&mut *connection);
            let rows: Vec<ClaimedRow> = self.database.time(Statement::Jobs, query).await?;
            self.database.keep(connection);
            rows.into_iter().map(ClaimedRow::job).collect()
        };
        in_time(&self.database, claim).await
    }

    async fn claimed(&self, worker: &str, queue: &str) -> Result<Vec<JobClaim>, PortError> {
        let read = async {
            let mut connection = self.database.acquire().await?;
            let query =
                sqlx::query_as(CLAIMED).bind(worker).bind(queue).fetch_all(&mut *connection);
            let rows: Vec<(i64, DateTime<Utc>)> =
                self.database.time(Statement::Jobs, query).await?;
            rows.into_iter().map(claim_of).collect()
        };
        in_time(&self.database, read).await
    }

    async fn succeed(&self, jobs: &[JobId]) -> Result<(), PortError> {
        let ids: Vec<i64> = jobs.iter().map(|id| id.get()).collect();
        write(&self.database, sqlx::query(SUCCEED).bind(ids)).await
    }

    async fn fail(&self, worker: &str, failed: &FailedAttempt) -> Result<bool, PortError> {
        let fail = async {
            let mut connection = self.database.acquire().await?;
            let query = sqlx::query_scalar(FAIL)
                .bind(worker)
                .bind(failed.claim.id.get())
                .bind(failed.claim.claimed_at)
                .bind(&failed.error)
                .bind(failed.retry_in.map(|delay| delay.as_secs_f64()))
                .fetch_one(&mut *connection);
            self.database.time(Statement::Jobs, query).await
        };
        in_time(&self.database, fail).await
    }

    async fn give_back(&self, worker: &str, claims: &[JobClaim]) -> Result<(), PortError> {
        let (ids, times): (Vec<i64>, Vec<DateTime<Utc>>) =
            claims.iter().map(|claim| (claim.id.get(), claim.claimed_at)).unzip();
        write(&self.database, sqlx::query(GIVE_BACK).bind(worker).bind(ids).bind(times)).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::application::ports::{Job, JobQueue, JobReader, NewJob};
    use crate::domain::job::{JobPriority, JobState};
    use crate::infrastructure::persistence::jobs::enqueue::PostgresJobQueue;
    use crate::infrastructure::persistence::jobs::reader::PostgresJobReader;
    use crate::testing::builders::a_new_job;
    use crate::testing::servers::PostgresShop;

    struct World {
        shop: PostgresShop,
        database: Database,
        attempts: PostgresJobAttempts,
    }

    impl World {
        async fn open() -> Self {
            let shop = PostgresShop::open().await;
            let database = shop.database().await;
            let attempts = PostgresJobAttempts::new(database.clone());
            Self { shop, database, attempts }
        }

        async fn enqueued(&self, job: &NewJob) -> JobId {
            let queue = PostgresJobQueue::new(self.database.clone());
            queue.enqueue(job, "eve").await.unwrap().job.id
        }

        /// Claims what this worker may run.
        async fn claims(&self, worker: &str, at_most: usize) -> Vec<ClaimedJob> {
            let wanted = Wanted { queue: "default", job_types: &["noop"], at_most };
            self.attempts.claim(worker, wanted).await.unwrap()
        }

        /// A new job that this worker has claimed.
        async fn claimed_by(&self, worker: &str) -> JobClaim {
            self.enqueued(&a_new_job()).await;
            let [job] = &self.claims(worker, 10).await[..] else { panic!("one job waits") };
            job.claim
        }

        async fn job(&self, id: JobId) -> Job {
            let reader = PostgresJobReader::new(self.database.clone());
            reader.find(id).await.unwrap().unwrap()
        }

        async fn state(&self, id: JobId) -> (JobState, u16) {
            let job = self.job(id).await;
            (job.state, job.attempts)
        }
    }

    fn ids(jobs: &[ClaimedJob]) -> Vec<JobId> {
        jobs.iter().map(|job| job.claim.id).collect()
    }

    fn failed(claim: JobClaim, error: &str, retry_in: Option<Duration>) -> FailedAttempt {
        FailedAttempt { claim, error: error.to_owned(), retry_in }
    }

    #[tokio::test]
    async fn the_most_urgent_and_then_the_oldest_is_claimed_and_no_job_twice() {
        let world = World::open().await;
        let of = |priority| NewJob { priority, ..a_new_job() };
        let low = world.enqueued(&of(JobPriority::Low)).await;
        let old = world.enqueued(&of(JobPriority::Normal)).await;
        let new = world.enqueued(&of(JobPriority::Normal)).await;
        let urgent = world.enqueued(&of(JobPriority::Critical)).await;

        let first = world.claims("w", 3).await;
        let rest = world.claims("w", 3).await;

        assert_eq!((ids(&first), ids(&rest)), (vec![urgent, old, new], vec![low]));
        assert_eq!(world.state(low).await, (JobState::Running, 1));
        assert_eq!(world.job(low).await.worker.as_deref(), Some("w"));
        assert_eq!(world.claims("w", 3).await, []);
    }

    #[tokio::test]
    async fn jobs_of_other_types_and_queues_and_those_that_do_not_wait_are_left() {
        let world = World::open().await;
        for set in ["kind = 'of_a_newer_release'", "queue = 'other'", "state = 'scheduled'"] {
            let id = world.enqueued(&a_new_job()).await;
            let update = format!("UPDATE river_job SET {set} WHERE id = {}", id.get());
            world.shop.execute(&update).await;
        }

        assert_eq!(world.claims("w", 10).await, []);
    }

    #[tokio::test]
    async fn workers_that_claim_at_once_share_the_jobs() {
        let world = World::open().await;
        for _ in 0..40 {
            world.enqueued(&a_new_job()).await;
        }
        let claims = (0..8).map(|worker| async move { format!("w{worker}") });
        let claims = claims.map(|worker| async { world.claims(&worker.await, 10).await });

        let claimed = futures_util::future::join_all(claims).await.concat();
        let rest = world.claims("last", 40).await;

        let mut all = ids(&[claimed, rest].concat());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 40);
    }

    #[tokio::test]
    async fn a_failure_is_recorded_only_by_the_worker_and_attempt_that_run_the_job() {
        let world = World::open().await;
        let claim = world.claimed_by("mine").await;
        let earlier = JobClaim { claimed_at: claim.claimed_at - Duration::from_secs(1), ..claim };
        let failed = |claim| failed(claim, "no luck", Some(Duration::from_mins(1)));

        assert!(!world.attempts.fail("other", &failed(claim)).await.unwrap());
        assert!(!world.attempts.fail("mine", &failed(earlier)).await.unwrap());
        assert_eq!(world.state(claim.id).await, (JobState::Running, 1));
        assert!(world.attempts.fail("mine", &failed(claim)).await.unwrap());

        let job = world.job(claim.id).await;
        assert_eq!((job.state, job.last_error.as_deref()), (JobState::Retrying, Some("no luck")));
        assert!((job.run_at - job.created_at).num_seconds() >= 59);
    }

    #[tokio::test]
    async fn a_failure_whose_answer_was_lost_is_recorded_once_and_confirmed() {
        let world = World::open().await;
        let claim = world.claimed_by("mine").await;

        assert!(world.attempts.fail("mine", &failed(claim, "no luck", None)).await.unwrap());
        assert!(world.attempts.fail("mine", &failed(claim, "no luck", None)).await.unwrap());
        let other = failed(claim, "its worker mine died", None);
        assert!(!world.attempts.fail("mine", &other).await.unwrap());

        let errors = "SELECT cardinality(errors) FROM river_job";
        let errors: i32 = sqlx::query_scalar(errors).fetch_one(&world.shop.pool).await.unwrap();
        assert_eq!((world.job(claim.id).await.state, errors), (JobState::Dead, 1));
    }

    #[tokio::test]
    async fn a_job_that_is_given_back_waits_and_its_attempt_does_not_count() {
        let world = World::open().await;
        let claim = world.claimed_by("mine").await;

        world.attempts.give_back("other", &[claim]).await.unwrap();
        assert_eq!(world.state(claim.id).await, (JobState::Running, 1));
        world.attempts.give_back("mine", &[claim]).await.unwrap();

        assert_eq!(world.state(claim.id).await, (JobState::Waiting, 0));
    }

    #[tokio::test]
    async fn an_attempt_is_not_given_back_again_nor_fails_after_the_same_worker_has_begun_the_next()
    {
        let world = World::open().await;
        let first = world.claimed_by("mine").await;
        world.attempts.give_back("mine", &[first]).await.unwrap();
        let [second] = &world.claims("mine", 1).await[..] else { panic!("it waits") };

        world.attempts.give_back("mine", &[first]).await.unwrap();
        let fails = world.attempts.fail("mine", &failed(first, "no luck", None)).await.unwrap();

        assert_eq!((second.claim.id, second.attempt), (first.id, 1));
        assert!(!fails);
        assert_eq!(world.state(first.id).await, (JobState::Running, 1));
    }

    #[tokio::test]
    async fn success_ends_a_job_that_runs_and_no_other() {
        let world = World::open().await;
        let (done, dead) = (world.claimed_by("mine").await, world.claimed_by("mine").await);
        let again = world.claimed_by("mine").await;
        world.attempts.give_back("mine", &[again]).await.unwrap();
        world.attempts.fail("mine", &failed(dead, "no luck", None)).await.unwrap();
        assert_eq!(world.claims("other", 1).await.len(), 1);

        for _ in 0..2 {
            world.attempts.succeed(&[done.id, dead.id, again.id]).await.unwrap();
        }

        assert_eq!(world.state(done.id).await, (JobState::Done, 1));
        assert_eq!(world.state(dead.id).await.0, JobState::Dead);
        assert_eq!(world.state(again.id).await.0, JobState::Done);
    }

    #[tokio::test]
    async fn what_a_worker_has_claimed_is_known_a_moment_later() {
        let world = World::open().await;
        let (old, _new) = (world.claimed_by("mine").await, world.claimed_by("mine").await);
        let past = "UPDATE river_job SET attempted_at = attempted_at - interval '4 seconds'
                    WHERE id = (SELECT min(id) FROM river_job)";
        world.shop.execute(past).await;

        let claimed = world.attempts.claimed("mine", "default").await.unwrap();

        assert_eq!(claimed.iter().map(|claim| claim.id).collect::<Vec<_>>(), [old.id]);
        assert_eq!(world.attempts.claimed("other", "default").await.unwrap(), []);
        assert_eq!(world.attempts.claimed("mine", "other").await.unwrap(), []);
    }
}
