//! What becomes of a connection that is returned to the pool.
//!
//! `begin` of sqlx 0.9 that is dropped between `BEGIN` and its answer, by a deadline for example, does not know of the transaction, and
//! rolls nothing back. The next user of the connection would write into a transaction that is never committed. So every connection
//! that comes back is asked whether it is in one, with the ping that it must answer anyway.

use sqlx::{Connection, PgConnection};

use super::connection::{PING_TIMEOUT, no_answer};

/// Makes a returned connection usable for others, or fails: then it is closed.
pub(crate) async fn reset(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // The pool itself would wait forever for a peer that has vanished.
    match tokio::time::timeout(PING_TIMEOUT, end_transaction(connection)).await {
        Ok(result) => result,
        Err(_) => Err(no_answer().into()),
    }
}

/// Sends an empty statement as if it began a transaction. It begins none, and with its answer the server says whether one is open:
/// sqlx fails with `BeginFailed` if not, and otherwise returns what another caller has left.
async fn end_transaction(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    match connection.begin_with("").await {
        Err(sqlx::Error::BeginFailed) => Ok(()),
        Err(error) => Err(error),
        Ok(left_open) => left_open.rollback().await,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;

    use super::*;
    use crate::infrastructure::persistence::pool::database::Database;
    use crate::testing::servers::PostgresShop;

    async fn world() -> (PostgresShop, Database) {
        let shop = PostgresShop::open().await;
        shop.execute("CREATE TABLE notes (n int)").await;
        let database = shop.single_connection_database().await;
        (shop, database)
    }

    /// Begins a transaction, and goes away when the server has begun it and its answer is not read yet.
    async fn begin_and_leave<T>(shop: &PostgresShop, begin: impl AsyncFn() -> T) {
        loop {
            let mut begin = pin!(begin());
            loop {
                match poll!(begin.as_mut()) {
                    Poll::Pending if shop.is_idle_in_transaction().await => return,
                    Poll::Pending => {}
                    Poll::Ready(too_late) => {
                        drop(too_late);
                        break;
                    }
                }
            }
            while shop.is_idle_in_transaction().await {}
        }
    }

    /// Whether what the connection's next user writes is committed.
    async fn next_user_commits(shop: &PostgresShop, database: &Database) -> bool {
        let mut next = database.acquire().await.unwrap();
        sqlx::query("INSERT INTO notes VALUES (1)").execute(&mut *next).await.unwrap();
        let notes = "SELECT EXISTS (SELECT FROM notes)";
        sqlx::query_scalar(notes).fetch_one(&shop.pool).await.unwrap()
    }

    #[tokio::test]
    async fn after_a_begin_that_was_dropped_in_the_middle_the_next_user_is_in_no_transaction() {
        let (shop, database) = world().await;

        begin_and_leave(&shop, || database.begin("BEGIN ISOLATION LEVEL READ COMMITTED")).await;

        assert!(next_user_commits(&shop, &database).await);
    }

    /// As batches begin.
    #[tokio::test]
    async fn after_a_begin_on_a_connection_taken_before_the_next_user_is_in_no_transaction() {
        let (shop, database) = world().await;
        let begin = async || {
            let mut connection = database.acquire().await.unwrap();
            connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await.map(drop)
        };

        begin_and_leave(&shop, begin).await;

        assert!(next_user_commits(&shop, &database).await);
    }
}
