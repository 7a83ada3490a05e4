//! Drops the partitions whose sales are all archived, a table at a time.
//!
//! A partition is detached `CONCURRENTLY` where this role owns the tables: then nothing ever waits for it. The service's own role does not
//! own them, and such a statement cannot run inside a function of the owner. So a function detaches in the ordinary way there, which
//! locks the parent for an instant. Requests name their partitions, and so hardly meet that lock; who does waits at most for the
//! function's own lock timeout.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::application::ports::{Partition, PortError};
use crate::infrastructure::persistence::partitions::WIDTH;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};
use crate::infrastructure::persistence::pool::metrics::Statement;

const WHAT: &str = "the partitions of old sales";
/// The tables of a partition. The first is the last to go, because by it others see whether the partition is there.
const TABLES: [&str; 9] = [
    "purchase_requests",
    "items",
    "item_stock",
    "buyers",
    "checkout_attempts",
    "checkout_items",
    "purchases",
    "checkout_refusals",
    "purchase_cancellations",
];
/// How often the lock on `sales` is waited for.
const LOCK_RETRIES: u32 = 30;
/// Rest after a table, in times of the time that it took: a large table's files keep a processor and the disk busy, and a sale that is
/// open needs both.
const REST: u32 = 30;
/// Longest rest: what is left is dropped within minutes, whatever its size.
const LONGEST_REST: Duration = Duration::from_mins(1);
/// A table of so many bytes, with its indexes, is followed by a rest.
const LARGE: i64 = 64 << 20;
/// A table is waited for no longer than this, and then tried again later.
const SETTINGS: &str = "SET lock_timeout = '100ms'; SET statement_timeout = '10s'";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const SEAL: &str = "SELECT seal_partitions()";

/// The table of the partition, whether this role owns it, what is left to do, and its size.
const LOOK: &str = r"
    SELECT pg_has_role(c.relowner, 'USAGE') AS is_owner, c.relispartition AS is_attached,
           coalesce(i.inhdetachpending, false) AS is_pending,
           coalesce(pg_total_relation_size(c.oid), 0) AS bytes
    FROM pg_class AS c
    LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
    WHERE c.oid = to_regclass($1)
";

const DETACH: &str = "SELECT detach_partition($1, $2)";
const DROP: &str = "SELECT drop_partition($1, $2)";

const DONE: &str = r"
    UPDATE dropped_partitions SET dropped_at = clock_timestamp() WHERE first = $1 AND dropped_at IS NULL
";

/// Seals partitions that hold no sale any more.
pub(super) async fn seal(database: &Database) -> Result<Vec<Partition>, PortError> {
    let mut tries = 0;
    let sealed = loop {
        let seal = async {
            let mut connection = database.acquire().await?;
            let seal = sqlx::query_scalar(SEAL).fetch_all(&mut *connection);
            database.time(Statement::Retention, seal).await
        };
        match seal.await {
            Err(error) if error.class() == ErrorClass::Transient && tries < LOCK_RETRIES => {
                tries += 1;
            }
            sealed => break sealed,
        }
    };
    let sealed: Vec<i64> = sealed.map_err(|error: DatabaseError| error.into_port_error(WHAT))?;
    Ok(sealed.into_iter().map(|first| Partition { first, last: first + WIDTH - 1 }).collect())
}

/// Drops the tables of a partition that are not in use.
pub(super) async fn drop_tables(
    database: &Database,
    partition: Partition,
) -> Result<bool, PortError> {
    let drop = async {
        let mut connection = connect(database).await?;
        let dropped = drop_each(database, &mut connection, partition.first).await;
        let _ = connection.close().await;
        dropped
    };
    drop.await.map_err(|error: DatabaseError| error.into_port_error(WHAT))
}

/// A connection of its own, because its timeouts are others than those of the pool's.
async fn connect(database: &Database) -> Result<PgConnection, DatabaseError> {
    let options: PgConnectOptions = (*database.driver_pool().connect_options()).clone();
    let connect = async {
        let mut connection = options.connect().await?;
        sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
        Ok::<_, sqlx::Error>(connection)
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(connection) => connection.map_err(|error| database.record(error.into())),
        Err(_) => Err(DatabaseError::Silent),
    }
}

async fn drop_each(
    database: &Database,
    connection: &mut PgConnection,
    first: i64,
) -> Result<bool, DatabaseError> {
    let mut is_done = true;
    for table in TABLES.iter().rev() {
        is_done &= drop_table(database, connection, (table, first)).await?;
    }
    if is_done {
        sqlx::query(DONE).bind(first).execute(connection).await?;
    }
    Ok(is_done)
}

/// The rest after a table of this size, whose drop took so long.
fn rest_after(bytes: i64, took: Duration) -> Duration {
    if bytes < LARGE { Duration::ZERO } else { (took * REST).min(LONGEST_REST) }
}

/// `false` if the table is in use.
async fn drop_table(
    database: &Database,
    connection: &mut PgConnection,
    (parent, first): (&'static str, i64),
) -> Result<bool, DatabaseError> {
    let child = format!("{parent}_from_{first}");
    let look: Option<(bool, bool, bool, i64)> =
        sqlx::query_as(LOOK).bind(&child).fetch_optional(&mut *connection).await?;
    let Some((is_owner, is_attached, is_pending, bytes)) = look else {
        return Ok(true);
    };
    let step = async {
        match (is_attached, is_owner && !is_pending) {
            (false, _) => {}
            (true, true) => detach_concurrently(connection, parent, &child).await?,
            (true, false) => call(connection, DETACH, (parent, first)).await?,
        }
        let began = Instant::now();
        call(connection, DROP, (parent, first)).await?;
        Ok(began.elapsed())
    };
    match database.time(Statement::Retention, step).await {
        Ok(took) => {
            tokio::time::sleep(rest_after(bytes, took)).await;
            Ok(true)
        }
        Err(error) if error.class() == ErrorClass::Transient => Ok(false),
        Err(error) => Err(error),
    }
}

async fn call(
    connection: &mut PgConnection,
    function: &'static str,
    (parent, first): (&'static str, i64),
) -> Result<(), sqlx::Error> {
    sqlx::query(function).bind(parent).bind(first).execute(connection).await.map(drop)
}

/// Waits for transactions that use the parent, and lets others use it meanwhile. If it gives up, the detachment is pending.
async fn detach_concurrently(
    connection: &mut PgConnection,
    parent: &'static str,
    child: &str,
) -> Result<(), sqlx::Error> {
    // Both names are constants of this program, and a number.
    let detach = format!("ALTER TABLE {parent} DETACH PARTITION {child} CONCURRENTLY");
    sqlx::raw_sql(AssertSqlSafe(detach)).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_table_is_followed_by_a_rest_and_a_small_one_is_not() {
        let seconds = Duration::from_secs;

        assert_eq!(rest_after(8_192, seconds(1)), Duration::ZERO);
        assert_eq!(rest_after(1 << 30, Duration::from_millis(200)), seconds(6));
        assert_eq!(rest_after(1 << 30, seconds(9)), seconds(60));
    }
}
