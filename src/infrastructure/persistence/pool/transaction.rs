//! The one way to run a transaction.
//!
//! It commits on `Ok` and rolls back on `Err`, on a panic and when its future is dropped: then the guard queues the rollback,
//! and the connection does not serve anybody before it has run. What cannot be decided by running again is handed back;
//! a transaction that lost a race is run again, a bounded number of times.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Postgres};

use super::database::{Database, PATIENCE_MARGIN, READ_RETRIES};
use super::error::{DatabaseError, ErrorClass};
use super::metrics::Statement;

/// A transaction that is running. Dropped, it is rolled back.
pub(crate) type Tx = sqlx::Transaction<'static, Postgres>;

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
    /// Longest time of one statement in it, and of the whole; the session's if `None`. Waits for locks and pauses stay
    /// bounded as they are for everybody: a stopped instance must not hold others up for longer.
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

    /// A lost race may be run again, as often as the options say; a broken connection too, if nothing can have been
    /// written.
    fn may_run_again(self, class: ErrorClass, tries: u32) -> bool {
        match class {
            ErrorClass::Transient => tries < self.retries,
            ErrorClass::Connection => self.read_only && tries < READ_RETRIES,
            ErrorClass::Timeout
            | ErrorClass::Refused
            | ErrorClass::Away
            | ErrorClass::Permanent => false,
        }
    }

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
    pub(crate) async fn transaction<T, F, R>(
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
            let limit =
                options.timeout.map_or(self.patience(), |timeout| timeout + PATIENCE_MARGIN);
            match self.within(limit, self.attempt(options, &mut body)).await {
                Err(error) if options.may_run_again(error.class(), tries) => tries += 1,
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
            let set = format!("SET LOCAL statement_timeout = {ms}");
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use sqlx::PgConnection;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::testing::servers::PostgresShop;

    async fn world() -> (PostgresShop, Database) {
        let shop = PostgresShop::open().await;
        shop.execute("CREATE TABLE notes (n int)").await;
        let database = shop.database().await;
        (shop, database)
    }

    async fn note(connection: &mut PgConnection) -> Result<(), DatabaseError> {
        sqlx::query("INSERT INTO notes VALUES (1)").execute(connection).await?;
        Ok(())
    }

    async fn notes(shop: &PostgresShop) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&shop.pool).await.unwrap()
    }

    /// Fails with an SQLSTATE.
    async fn fail(connection: &mut PgConnection, code: &str) -> Result<(), DatabaseError> {
        let sql = format!("DO $$ BEGIN RAISE EXCEPTION 'test' USING ERRCODE = '{code}'; END $$");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    #[tokio::test]
    async fn it_commits_on_ok() {
        let (shop, database) = world().await;

        let write = |mut tx: Tx| async move {
            note(&mut tx).await?;
            Ok((tx, 7))
        };
        let value = database.transaction(Options::WRITE, write).await;

        assert_eq!(value.unwrap(), 7);
        assert_eq!(notes(&shop).await, 1);
    }

    #[tokio::test]
    async fn it_rolls_back_on_err() {
        let (shop, database) = world().await;

        let write = |mut tx: Tx| async move {
            note(&mut tx).await?;
            Err::<(Tx, ()), _>(DatabaseError::Unreadable("test"))
        };

        assert!(database.transaction(Options::WRITE, write).await.is_err());
        assert_eq!(notes(&shop).await, 0);
    }

    #[tokio::test]
    async fn it_rolls_back_on_a_panic_and_the_connection_serves_again() {
        let (shop, database) = world().await;
        let tasks = TaskTracker::new();

        let panicking = database.clone();
        let task = tasks.spawn(async move {
            let write = |mut tx: Tx| async move {
                note(&mut tx).await?;
                let seen = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM notes");
                assert_eq!(seen.fetch_one(&mut *tx).await?, 0, "in the middle");
                Ok((tx, ()))
            };
            panicking.transaction(Options::WRITE, write).await
        });

        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(notes(&shop).await, 0);
    }

    #[tokio::test]
    async fn it_rolls_back_when_its_future_is_dropped() {
        let (shop, database) = world().await;

        let write = |mut tx: Tx| async move {
            note(&mut tx).await?;
            std::future::pending::<()>().await;
            Ok((tx, ()))
        };
        let waiting = database.transaction(Options::WRITE, write);
        let dropped = tokio::time::timeout(std::time::Duration::from_millis(200), waiting).await;

        assert!(dropped.is_err());
        // The lock on the table is had only when the dropped transaction is over.
        shop.execute("BEGIN; LOCK TABLE notes IN ACCESS EXCLUSIVE MODE; COMMIT").await;
        assert_eq!(notes(&shop).await, 0);
    }

    #[tokio::test]
    async fn what_may_only_read_cannot_write() {
        let (_shop, database) = world().await;

        let write = |mut tx: Tx| async move {
            note(&mut tx).await?;
            Ok((tx, ()))
        };
        let error = database.transaction(Options::SNAPSHOT, write).await.unwrap_err();

        assert_eq!(error.class(), ErrorClass::Refused);
    }

    #[tokio::test]
    async fn connections_to_a_server_that_takes_no_writes_are_made_anew() {
        let shop = PostgresShop::open().await;
        let database = shop.narrow_database().await;
        let process = async || {
            let pid = sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()");
            pid.fetch_one(&mut *database.acquire().await.unwrap()).await.unwrap()
        };
        let before = process().await;
        assert_eq!(process().await, before);

        let write = |mut tx: Tx| async move {
            fail(&mut tx, "25006").await?;
            Ok((tx, ()))
        };
        let error = database.transaction(Options::WRITE, write).await.unwrap_err();
        database.note(error);

        let after = process().await;
        assert_ne!(after, before);
        assert_eq!(process().await, after);
    }

    #[tokio::test]
    async fn a_snapshot_sees_one_moment() {
        let (shop, database) = world().await;

        let (shop, looks) = (&shop, "SELECT count(*) FROM notes");
        let look_twice = |mut tx: Tx| async move {
            let before: i64 = sqlx::query_scalar(looks).fetch_one(&mut *tx).await?;
            shop.execute("INSERT INTO notes VALUES (1)").await;
            let after: i64 = sqlx::query_scalar(looks).fetch_one(&mut *tx).await?;
            Ok((tx, (before, after)))
        };
        let seen = database.transaction(Options::SNAPSHOT, look_twice).await.unwrap();

        assert_eq!(seen, (0, 0));
    }

    #[tokio::test]
    async fn a_statement_that_takes_longer_than_the_timeout_is_cancelled() {
        let (_shop, database) = world().await;
        let options = Options { timeout: Some(Duration::from_millis(50)), ..Options::WRITE };

        let sleep = |mut tx: Tx| async move {
            sqlx::query("SELECT pg_sleep(60)").execute(&mut *tx).await?;
            Ok((tx, ()))
        };
        let error = database.transaction(options, sleep).await.unwrap_err();

        assert_eq!(error.class(), ErrorClass::Timeout);
    }

    #[tokio::test]
    async fn a_transaction_that_lost_a_race_is_run_again_a_bounded_number_of_times() {
        let (shop, database) = world().await;
        let options = Options { retries: 2, ..Options::WRITE };

        for code in ["40001", "40P01", "55P03"] {
            let tries = AtomicU32::new(0);
            let tries = &tries;
            let lose = |mut tx: Tx| async move {
                tries.fetch_add(1, Ordering::Relaxed);
                note(&mut tx).await?;
                fail(&mut tx, code).await?;
                Ok((tx, ()))
            };
            let error = database.transaction(options, lose).await.unwrap_err();

            assert_eq!(error.class(), ErrorClass::Transient, "{code}");
            assert_eq!(tries.load(Ordering::Relaxed), 3, "{code}");
        }
        assert_eq!(notes(&shop).await, 0);
    }

    #[tokio::test]
    async fn what_fails_for_good_is_not_run_again() {
        let (_shop, database) = world().await;
        let tries = AtomicU32::new(0);
        let tries = &tries;

        let fail = |mut tx: Tx| async move {
            tries.fetch_add(1, Ordering::Relaxed);
            fail(&mut tx, "23514").await?;
            Ok((tx, ()))
        };
        let options = Options { retries: 5, ..Options::WRITE };

        assert!(database.transaction(options, fail).await.is_err());
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    }
}
