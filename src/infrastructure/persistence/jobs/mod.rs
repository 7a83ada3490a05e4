//! Jobs, in the table `river_job`, by PostgreSQL's clock. Its format, and the channel that tells of jobs, are those of River
//! (<https://riverqueue.com>), so that River's tools show what is there.
//!
//! - [`enqueue`]: inserts a job, also in the transaction of another write. [`notifications`]: listens for them. [`row`]: a row as a job.
//! - [`attempts`]: claims, and how attempts end. [`workers`]: leases, the jobs of dead workers, jobs that become due.
//! - [`reader`]: lists and counts. [`repair`]: what operators do.

pub(crate) mod attempts;
pub(crate) mod enqueue;
pub(crate) mod notifications;
pub(crate) mod reader;
pub(crate) mod repair;
pub(crate) mod row;
pub(crate) mod workers;

use std::time::Duration;

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::application::ports::PortError;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

const WHAT: &str = "the job queue";
/// No statement of a worker may take longer: a lease ends after two and a half seconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Runs what a worker asks for.
async fn in_time<T>(
    database: &Database,
    run: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, PortError> {
    database.within(TIMEOUT, run).await.map_err(|error| error.into_port_error(WHAT))
}

async fn write(
    database: &Database,
    query: Query<'_, Postgres, PgArguments>,
) -> Result<(), PortError> {
    let write = async {
        let mut connection = database.acquire().await?;
        database.time(Statement::Jobs, query.execute(&mut *connection)).await?;
        database.keep(connection);
        Ok(())
    };
    in_time(database, write).await
}

/// Tells of a job that waits, at the commit.
macro_rules! notify {
    ($queue:literal) => {
        concat!(
            "pg_notify('public.river_insert', json_build_object('queue', ",
            $queue,
            ")::text)::text"
        )
    };
}

pub(crate) use notify;
