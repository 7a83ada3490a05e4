//! The one way to run a transaction that is not a batch.
//!
//! It commits on `Ok` and rolls back on `Err`, on a panic, and when its future is dropped: then the guard queues the rollback, which
//! runs before the connection is used again. Where the guard cannot know of the transaction, [`returned`](super::returned) ends it. A
//! transaction that lost a race, or its connection before the commit was sent, is repeated a bounded number of times; every other
//! error is returned.
//!
//! `begin` of a running one begins a nested transaction, in a savepoint: what fails in it is undone alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::database::Database;
use super::deadline::ANSWER_MARGIN;
use super::error::DatabaseError;
use super::metrics::Statement;
use super::tx::{Options, Tx};

/// Pause before a transaction is repeated: up to this time, and as much more for each further try.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

impl Database {
    /// Runs `body` in a transaction, which `body` returns with its value.
    ///
    /// `body` may run several times, so it must not have effects of its own. When the connection breaks during the commit, the error's
    /// class is `Connection`, and it is unknown whether the commit happened.
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
                options.timeout.map_or(self.answer_timeout(), |timeout| timeout + ANSWER_MARGIN);
            let is_open = AtomicBool::new(false);
            let attempt = self.attempt(options, &mut body, &is_open);
            match self.within(limit, attempt).await {
                Err(error)
                    if options.may_retry(error.class(), tries, is_open.load(Ordering::Relaxed)) =>
                {
                    tries += 1;
                    // Not at the same time as the one that it lost the race to.
                    tokio::time::sleep(RETRY_PAUSE.mul_f64(fastrand::f64() * f64::from(tries)))
                        .await;
                }
                result => return result,
            }
        }
    }

    async fn attempt<T, F, R>(
        &self,
        options: Options,
        body: &mut F,
        is_open: &AtomicBool,
    ) -> Result<T, DatabaseError>
    where
        F: FnMut(Tx) -> R,
        R: Future<Output = Result<(Tx, T), DatabaseError>>,
    {
        let mut transaction = self.begin(options.begin()).await?;
        is_open.store(true, Ordering::Relaxed);
        if let Some(timeout) = options.timeout {
            let ms = timeout.as_millis();
            // A long statement of a process that has ended would go on, and keep its locks, until it wants to answer.
            // SET takes no parameters; the number comes from a `Duration`.
            let set = format!(
                "SET LOCAL statement_timeout = {ms}; SET LOCAL client_connection_check_interval = '1s'"
            );
            sqlx::raw_sql(AssertSqlSafe(set))
                .execute(&mut *transaction)
                .await
                .map_err(|error| self.record(error.into()))?;
        }
        // Dropping the transaction rolls it back: by `?`, by a panic, or with this future.
        let (transaction, value) = body(transaction).await?;
        is_open.store(false, Ordering::Relaxed);
        self.time(Statement::Commit, transaction.commit()).await?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use futures_util::future::join_all;
    use sqlx::{Connection, PgConnection};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::infrastructure::persistence::pool::error::ErrorClass;
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
        let dropped = tokio::time::timeout(Duration::from_millis(200), waiting).await;

        assert!(dropped.is_err());
        // The table's lock is free only once the dropped transaction has ended.
        shop.execute("BEGIN; LOCK TABLE notes IN ACCESS EXCLUSIVE MODE; COMMIT").await;
        assert_eq!(notes(&shop).await, 0);
    }

    #[tokio::test]
    async fn a_read_only_transaction_cannot_write() {
        let (_shop, database) = world().await;

        let write = |mut tx: Tx| async move {
            note(&mut tx).await?;
            Ok((tx, ()))
        };
        let error = database.transaction(Options::SNAPSHOT, write).await.unwrap_err();

        assert_eq!(error.class(), ErrorClass::Refused);
    }

    #[tokio::test]
    async fn connections_to_a_read_only_server_are_replaced() {
        let shop = PostgresShop::open().await;
        let database = shop.single_connection_database().await;
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
        database.record(error);

        let after = process().await;
        assert_ne!(after, before);
        assert_eq!(process().await, after);
    }

    #[tokio::test]
    async fn a_snapshot_sees_one_moment() {
        let (shop, database) = world().await;

        let (shop, count) = (&shop, "SELECT count(*) FROM notes");
        let read_twice = |mut tx: Tx| async move {
            let before: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await?;
            shop.execute("INSERT INTO notes VALUES (1)").await;
            let after: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await?;
            Ok((tx, (before, after)))
        };
        let seen = database.transaction(Options::SNAPSHOT, read_twice).await.unwrap();

        assert_eq!(seen, (0, 0));
    }

    #[tokio::test]
    async fn a_rule_about_rows_that_others_add_holds_in_serializable_transactions() {
        const MOST: i64 = 3;
        let (shop, database) = world().await;

        let add = || {
            database.transaction(Options::SERIALIZABLE, |mut tx: Tx| async move {
                let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM notes");
                let is_room = count.fetch_one(&mut *tx).await? < MOST;
                if is_room {
                    note(&mut tx).await?;
                }
                Ok((tx, is_room))
            })
        };
        let added: Vec<_> = join_all((0..8).map(|_| add())).await;

        let added = added.into_iter().filter(|added| *added.as_ref().unwrap()).count();
        assert_eq!((added, notes(&shop).await), (3, MOST));
    }

    #[tokio::test]
    async fn a_nested_transaction_is_undone_alone() {
        let (shop, database) = world().await;

        let write = |mut tx: Tx| async move {
            note(&mut tx).await?;
            let mut nested = tx.begin().await?;
            note(&mut nested).await?;
            assert!(fail(&mut nested, "23514").await.is_err());
            nested.rollback().await?;
            // One that is dropped is undone as well.
            note(&mut *tx.begin().await?).await?;
            let mut nested = tx.begin().await?;
            note(&mut nested).await?;
            nested.commit().await?;
            Ok((tx, ()))
        };
        database.transaction(Options::WRITE, write).await.unwrap();

        assert_eq!(notes(&shop).await, 2);
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
    async fn a_transaction_that_lost_a_race_is_repeated_a_bounded_number_of_times() {
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
    async fn a_connection_that_breaks_before_the_commit_costs_a_repetition() {
        let (shop, database) = world().await;
        let tries = AtomicU32::new(0);
        let tries = &tries;

        let break_once = |mut tx: Tx| async move {
            note(&mut tx).await?;
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                let end = sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())");
                end.execute(&mut *tx).await?;
            }
            Ok((tx, ()))
        };
        database.transaction(Options::WRITE, break_once).await.unwrap();

        assert_eq!((tries.load(Ordering::Relaxed), notes(&shop).await), (2, 1));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_during_the_commit_leaves_it_unknown_and_repeats_nothing() {
        let (shop, database) = world().await;
        let at_commit = "CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS
                             $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
                         CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON notes
                             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION leave()";
        shop.execute(at_commit).await;
        let tries = AtomicU32::new(0);
        let tries = &tries;

        let write = |mut tx: Tx| async move {
            tries.fetch_add(1, Ordering::Relaxed);
            note(&mut tx).await?;
            Ok((tx, ()))
        };
        let error = database.transaction(Options::WRITE, write).await.unwrap_err();

        assert_eq!(error.class(), ErrorClass::Connection);
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_permanent_error_is_not_retried() {
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
