//! What every connection goes through before its first use: it gets the session's settings, must reach a server that is no standby,
//! and must write to the history that this instance knows.
//!
//! The settings are not sent with the start-up packet: a pooler in between may drop them without a word, and a promise that rests on a
//! setting needs it to be there.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::error::refused;
use super::server_history::{ServerHistory, ServerPosition};
use crate::config::DatabaseConfig;

/// What the planner's settings are tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planning {
    /// Look-ups by key: all statements of requests and background tasks. A statement is planned once, for any number of rows, and
    /// never scans a table sequentially.
    Keys,
    /// Joins of whole tables, as in an audit.
    Tables,
}

impl Planning {
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Keys => &[
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                // No statement looks up a key twice.
                ("enable_memoize", "off"),
                // A read of a front end takes one process of the server, and leaves the others to buyers.
                ("max_parallel_workers_per_gather", "0"),
            ],
            Self::Tables => &[],
        }
    }
}

/// Prepares connections.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct ConnectionSetup {
    /// One statement, in the simple protocol: it takes one round trip.
    statement: String,
    history: Arc<ServerHistory>,
    warned: AtomicBool,
}

impl ConnectionSetup {
    pub(crate) fn new(
        config: &DatabaseConfig,
        planning: Planning,
        history: Arc<ServerHistory>,
    ) -> Self {
        Self { statement: statement(config, planning), history, warned: AtomicBool::new(false) }
    }

    /// Prepares a connection. It must not be used if this fails.
    pub(crate) async fn prepare(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let statement = AssertSqlSafe(self.statement.clone());
        let row = sqlx::raw_sql(statement).fetch_one(&mut *connection).await?;
        if row.try_get("is_standby")? {
            return Err(refused("the server is a standby, which accepts no writes"));
        }
        let acknowledges_early: bool = row.try_get("acknowledges_early")?;
        if acknowledges_early && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "synchronous_commit is off for this role or database, so that a crash could lose acknowledged purchases: this \
                 session sets it to on. Remove the setting: ALTER ROLE … RESET synchronous_commit"
            );
        }
        self.history.check(connection, ServerPosition::of(&row)?).await
    }

    /// The history that the connections must write to.
    pub(crate) fn history(&self) -> &Arc<ServerHistory> {
        &self.history
    }
}

/// Applies all settings and returns the server's state. What a standby cannot answer is null there.
fn statement(config: &DatabaseConfig, planning: Planning) -> String {
    let mut values = String::new();
    for (name, value) in settings(config, planning) {
        let separator = if values.is_empty() { "" } else { ", " };
        let _ = write!(values, "{separator}('{name}', '{value}')");
    }
    format!(
        r"
        WITH before AS MATERIALIZED (
            SELECT pg_is_in_recovery() AS is_standby, current_setting('synchronous_commit') AS commits
        ), applied AS MATERIALIZED (
            -- Any other value than off is durable here, and may wait for a standby: it is the operator's choice.
            SELECT count(set_config(
                name, CASE WHEN name = 'synchronous_commit' AND commits <> 'off' THEN commits ELSE value END, false
            ))
            FROM before, (VALUES {values}) AS v(name, value)
        )
        SELECT is_standby, commits = 'off' AS acknowledges_early,
               h.system_identifier, h.database, h.timeline, h.position
        FROM applied, before
        LEFT JOIN LATERAL (
            SELECT (pg_control_system()).system_identifier, d.oid::bigint AS database,
                   ('x' || left(pg_walfile_name(w.lsn), 8))::bit(32)::int AS timeline,
                   pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS position
            FROM (
                SELECT CASE WHEN NOT is_standby THEN pg_current_wal_insert_lsn() END AS lsn OFFSET 0
            ) AS w, pg_database AS d
            WHERE NOT is_standby AND d.datname = current_database()
        ) AS h ON true
        "
    )
}

/// Applies what reads on a standby need of the settings.
pub(super) fn standby_statement(config: &DatabaseConfig) -> String {
    let values = settings(config, Planning::Keys).into_iter();
    let applied: Vec<String> =
        values.map(|(name, value)| format!("set_config('{name}', '{value}', false)")).collect();
    format!("SELECT {}", applied.join(", "))
}

/// JIT is off: it compiles for longer than any statement here runs.
fn settings(config: &DatabaseConfig, planning: Planning) -> Vec<(&'static str, String)> {
    let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
    let mut settings = vec![
        ("statement_timeout", milliseconds(config.statement_timeout)),
        ("lock_timeout", milliseconds(config.lock_timeout)),
        (
            "idle_in_transaction_session_timeout",
            milliseconds(config.idle_in_transaction_session_timeout),
        ),
        // The role or the database may have a search path of their own, but the schema's functions look in `public`.
        ("search_path", "public".to_owned()),
        ("jit", "off".to_owned()),
        // Batches need it, whatever the database's default is: a statement must see everything committed before it.
        ("default_transaction_isolation", "read committed".to_owned()),
        ("synchronous_commit", "on".to_owned()),
    ];
    let planner = planning.settings().iter();
    settings.extend(planner.map(|(name, value)| (*name, (*value).to_owned())));
    settings
}

#[cfg(test)]
mod tests {
    use crate::testing::servers::PostgresShop;

    /// Sets a value for all later sessions of the shop's database.
    async fn alter(shop: &PostgresShop, setting: &str) {
        let sql = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting}', current_database()); END $$"
        );
        shop.execute(&sql).await;
    }

    async fn values(shop: &PostgresShop) -> (String, String, String) {
        let database = shop.database().await;
        let values = "SELECT current_setting('synchronous_commit'), current_setting('lock_timeout'), \
                      current_setting('enable_seqscan')";
        sqlx::query_as(values).fetch_one(database.pool()).await.unwrap()
    }

    #[tokio::test]
    async fn settings_that_promises_rest_on_hold_whatever_the_database_says() {
        let shop = PostgresShop::open().await;
        for setting in ["synchronous_commit = off", "lock_timeout = 0", "enable_seqscan = on"] {
            alter(&shop, setting).await;
        }

        let (commits, locks, scans) = values(&shop).await;

        assert_eq!((commits.as_str(), locks.as_str(), scans.as_str()), ("on", "5min", "off"));
    }

    #[tokio::test]
    async fn a_stronger_synchronous_commit_is_left_alone() {
        let shop = PostgresShop::open().await;
        alter(&shop, "synchronous_commit = remote_apply").await;

        assert_eq!(values(&shop).await.0, "remote_apply");
    }
}
