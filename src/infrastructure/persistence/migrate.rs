//! The schema: migrated under sqlx's advisory lock, or only checked.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::pool::database::Database;
use super::pool::error::DatabaseError;

/// Version, description and SQL of each file in `migrations/`, as listed by `build.rs`. `sqlx::migrate!` would embed them too, but
/// its crate compiles sqlx and its TLS once more, for the host.
const MIGRATIONS: &[(i64, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The schema does not match this binary.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    /// A migration failed.
    #[error("cannot bring the schema up to date: {0}")]
    Migrate(#[from] MigrateError),
    /// Migrations are missing, and this instance may not run them.
    #[error(
        "the schema lacks {0} migrations: run `flash-sale migrate` first, or set database.migrate_on_start"
    )]
    Behind(usize),
    /// The epochs could not be read, or the next one could not begin.
    #[error("cannot read the epochs of the database: {0}")]
    Epochs(#[from] DatabaseError),
    /// The schema could not be read.
    #[error("cannot look at the schema: {0}")]
    Unreadable(#[from] sqlx::Error),
}

fn migrations() -> Vec<Migration> {
    MIGRATIONS
        .iter()
        .map(|(version, description, sql)| {
            let (description, sql) = (Cow::Borrowed(*description), SqlStr::from_static(sql));
            Migration::new(*version, description, MigrationType::Simple, sql, false)
        })
        .collect()
}

/// Runs the missing migrations. Leaves a database that is ahead of this binary as it is, so that a release can be rolled back.
/// Instances that migrate at the same time wait for each other.
pub(crate) async fn migrate(database: &Database) -> Result<(), SchemaError> {
    let mut connection = database.pool().acquire().await?;
    // Another instance's migrations may take longer than the session's timeouts allow. And a client that has to wait for the processor
    // in the middle of a migration must not lose its session.
    sqlx::raw_sql(
        "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0",
    )
    .execute(&mut *connection)
    .await?;
    let mut migrator = Migrator::with_migrations(migrations());
    migrator.set_ignore_missing(true);
    let result = migrator.run(&mut *connection).await;
    // Its timeouts are off: it must not go back to the pool. If it is broken, the result says why.
    let _ = connection.close().await;
    Ok(result?)
}

/// Checks that no migration is missing.
pub(crate) async fn check_schema(database: &Database) -> Result<(), SchemaError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(database.pool())
        .await?;
    let applied: BTreeSet<i64> = if exists {
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(database.pool())
            .await?
            .into_iter()
            .collect()
    } else {
        BTreeSet::new()
    };
    let missing = MIGRATIONS.iter().filter(|(version, ..)| !applied.contains(version)).count();
    if missing > 0 { Err(SchemaError::Behind(missing)) } else { Ok(()) }
}
