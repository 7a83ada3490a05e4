//! Reads jobs.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Postgres, QueryBuilder};

use super::row::{JobRow, job_columns, name_of, number_of, priority_of, state_of};
use crate::application::ports::{
    Cursor, CursorPage, Job, JobCount, JobFilter, JobReader, PortError,
};
use crate::domain::job::JobId;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the jobs";

pub(super) const FIND: &str = concat!("SELECT ", job_columns!(), " FROM river_job WHERE id = $1");
const LIST: &str = concat!("SELECT ", job_columns!(), " FROM river_job WHERE true");

/// Done jobs are not counted: they are many, and nothing depends on their number. The index of each state has all that is read here.
pub(crate) const COUNT: &str = r"
    SELECT 'available' AS state, priority, count(*) AS jobs,
           greatest(extract(epoch FROM statement_timestamp() - min(scheduled_at)), 0)::float8 AS oldest
    FROM river_job
    WHERE state = 'available'
    GROUP BY priority
    UNION ALL
    SELECT 'running', priority, count(*), 0
    FROM river_job
    WHERE state = 'running'
    GROUP BY priority
    UNION ALL
    SELECT state::text, priority, count(*), 0
    FROM river_job
    WHERE state IN ('retryable', 'scheduled')
    GROUP BY state, priority
    UNION ALL
    SELECT 'discarded', priority, count(*), 0
    FROM river_job
    WHERE state = 'discarded'
    GROUP BY priority
";

from_row! {
    #[derive(Debug)]
    struct CountRow {
        state: String,
        priority: i16,
        jobs: i64,
        oldest: f64,
    }
}

/// Reads jobs.
pub(crate) struct PostgresJobReader {
    database: Database,
}

impl PostgresJobReader {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl JobReader for PostgresJobReader {
    async fn find(&self, id: JobId) -> Result<Option<Job>, PortError> {
        let query = || sqlx::query_as(FIND).bind(id.get()).fetch_optional(self.database.pool());
        let row: Option<JobRow> = self.database.read_as(Statement::Jobs, WHAT, query).await?;
        row.map(JobRow::job).transpose().map_err(|error| error.into_port_error(WHAT))
    }

    async fn list(
        &self,
        filter: &JobFilter,
        page: Cursor<JobId>,
    ) -> Result<CursorPage<Job, JobId>, PortError> {
        let read = || async {
            let mut query = list(filter, page);
            query.build_query_as().fetch_all(self.database.pool()).await
        };
        let rows: Vec<JobRow> = self.database.read_as(Statement::Jobs, WHAT, read).await?;
        let jobs: Result<Vec<Job>, _> = rows.into_iter().map(JobRow::job).collect();
        let jobs = jobs.map_err(|error: DatabaseError| error.into_port_error(WHAT))?;
        Ok(CursorPage::cut(jobs, page.limit, |job| job.id))
    }

    async fn counts(&self) -> Result<Vec<JobCount>, PortError> {
        let query = || sqlx::query_as(COUNT).fetch_all(self.database.pool());
        let rows: Vec<CountRow> = self.database.read_as(Statement::CountJobs, WHAT, query).await?;
        let counts = rows.into_iter().filter_map(|row| {
            Some(JobCount {
                state: state_of(&row.state)?,
                priority: priority_of(row.priority)?,
                jobs: row.jobs.unsigned_abs(),
                oldest: Duration::try_from_secs_f64(row.oldest).unwrap_or_default(),
            })
        });
        Ok(counts.collect())
    }
}

/// Selects one more than the limit, which shows whether there is a next page.
fn list(filter: &JobFilter, page: Cursor<JobId>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(LIST);
    if let Some(state) = filter.state {
        // A literal, so that the partial index of dead jobs serves.
        query.push(" AND state = '").push(name_of(state)).push("'");
    }
    if let Some(job_type) = &filter.job_type {
        query.push(" AND kind = ").push_bind(job_type.clone());
    }
    if let Some(priority) = filter.priority {
        query.push(" AND priority = ").push_bind(number_of(priority));
    }
    if let Some(before) = page.entry {
        query.push(" AND id < ").push_bind(before.get());
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(page.limit) + 1);
    query
}
