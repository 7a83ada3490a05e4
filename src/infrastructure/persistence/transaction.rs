//! The one way to run a transaction.
//!
//! It commits on `Ok` and rolls back on `Err`, on a panic and when its future is dropped: then the guard queues the rollback,
//! and the connection does not serve anybody before it has run. What cannot be decided by running again is handed back;
//! a transaction that lost a race is run again, a bounded number of times.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Postgres};

use super::database::Database;
use super::error::{DatabaseError, ErrorClass};
use super::metrics::Statement;

/// A transaction that is running. Dropped, it is rolled back.
pub(super) type Tx = sqlx::Transaction<'static, Postgres>;

/// How isolated a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Every statement sees what was committed before it.
    ReadCommitted,
    /// All statements see one moment.
    RepeatableRead,
}

/// How a transaction runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// How isolated.
    pub(crate) isolation: Isolation,
    /// Whether it may only read.
    pub(crate) read_only: bool,
    /// Longest time of one statement in it, and of its pauses; the session's defaults if `None`.
    pub(crate) timeout: Option<Duration>,
    /// How often it is run again after a transient error (40001, 40P01, 55P03, a lost race).
    pub(crate) retries: u32,
}

impl Options {
    /// Reads and writes, READ COMMITTED, the session's timeouts, no retry.
    pub(crate) const WRITE: Self =
        Self { isolation: Isolation::ReadCommitted, read_only: false, timeout: None, retries: 0 };

    /// Reads as of one moment.
    pub(crate) const SNAPSHOT: Self =
        Self { isolation: Isolation::RepeatableRead, read_only: true, timeout: None, retries: 0 };

    fn begin(self) -> &'static str {
        match (self.isolation, self.read_only) {
            (Isolation::ReadCommitted, false) => "BEGIN ISOLATION LEVEL READ COMMITTED",
            (Isolation::ReadCommitted, true) => "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
            (Isolation::RepeatableRead, false) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            (Isolation::RepeatableRead, true) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}

impl Database {
    /// Runs `body` in a transaction, which `body` hands back with its value.
    ///
    /// `body` may run several times, so it must not have effects of its own. When the connection breaks during the
    /// commit, the error's class is `Connection` and whether it was committed is unknown.
    pub(super) async fn transaction<T, F, R>(
        &self,
        options: Options,
        mut body: F,
    ) -> Result<T, DatabaseError>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<(Tx, T), DatabaseError>>,
    {
        let mut tries = 0;
        loop {
            match self.attempt(options, &mut body).await {
                Err(error) if tries < options.retries && error.class() == ErrorClass::Transient => {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    async fn attempt<T, F, R>(&self, options: Options, body: &mut F) -> Result<T, DatabaseError>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<(Tx, T), DatabaseError>>,
    {
        let mut transaction = self.begin(options.begin()).await?;
        if let Some(timeout) = options.timeout {
            let ms = timeout.as_millis();
            // SET takes no parameters; the number is ours.
            let set = format!(
                "SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {ms};
                 SET LOCAL idle_in_transaction_session_timeout = {ms}"
            );
            sqlx::raw_sql(AssertSqlSafe(set))
                .execute(&mut *transaction)
                .await
                .map_err(|error| self.note(error.into()))?;
        }
        // Dropping the transaction, by `?`, by a panic or with this future, rolls it back.
        let (transaction, value) = body(transaction).await?;
        self.time(Statement::Commit, transaction.commit()).await?;
        Ok(value)
    }
}
