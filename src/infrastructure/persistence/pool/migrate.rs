//! The schema: brought up to date under sqlx's advisory lock, or only looked at.

use std::collections::BTreeSet;

use sqlx::migrate::{MigrateError, Migrator};

use super::database::Database;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// The schema does not fit this binary.
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
    /// The schema could not be looked at.
    #[error("cannot look at the schema: {0}")]
    Unreadable(#[from] sqlx::Error),
}

/// Runs the migrations that are missing. A database that is ahead of this binary is left as it is, so that a release can be
/// rolled back; instances that do this at the same time wait for each other.
pub(crate) async fn migrate(database: &Database) -> Result<(), SchemaError> {
    let mut connection = database.pool().acquire().await?;
    // Another instance may migrate for longer than an ordinary lock may be waited for.
    sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0")
        .execute(&mut *connection)
        .await?;
    let mut migrator = Migrator { ..Migrator::DEFAULT };
    migrator.migrations.clone_from(&MIGRATOR.migrations);
    migrator.set_ignore_missing(true);
    let result = migrator.run(&mut *connection).await;
    // Its settings are not the pool's any more.
    connection.close().await?;
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
    let missing = MIGRATOR.iter().filter(|migration| !applied.contains(&migration.version)).count();
    if missing > 0 { Err(SchemaError::Behind(missing)) } else { Ok(()) }
}
