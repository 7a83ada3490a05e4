//! Row locks that the test holds, as a slow transaction of another instance would: the service waits for them.

use sqlx::{PgPool, Postgres, Transaction};

use super::eventually::until;

/// Locks a buyer's row until the transaction ends.
pub(crate) async fn hold_buyer(pool: &PgPool, user: &str) -> Transaction<'static, Postgres> {
    let mut hold = pool.begin().await.unwrap();
    let lock = "SELECT user_id FROM buyers WHERE user_id = $1 FOR UPDATE";
    let locked: String = sqlx::query_scalar(lock).bind(user).fetch_one(&mut *hold).await.unwrap();
    assert_eq!(locked, user);
    hold
}

/// Waits until this many sessions of the database wait for a lock.
pub(crate) async fn waiting(pool: &PgPool, sessions: i64) {
    until(&format!("{sessions} sessions wait for the lock"), async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await.unwrap() >= sessions
    })
    .await;
}
