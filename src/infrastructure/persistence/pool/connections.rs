//! Lends the pool's connections, and lets batches hand warm ones to each other.
//!
//! The pool tests every connection that comes back, which takes two round trips, and lends the one that has been idle for the
//! longest time. So a batch leaves its connection here instead, and the next batch, of whichever sale, takes it without a round
//! trip: it has planned its statements, and its tables are open. No writer keeps a connection between two batches, so none is idle
//! while a caller waits for one.
//!
//! There are as many turns as connections ([`turns`](super::turns)). A caller with a turn takes a warm connection. If there is
//! none, the pool has one for it, or can open one, or one is on its way back.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, TryFutureExt};
use futures_util::stream::{self, BoxStream, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};

use super::stale_connections::StaleConnections;
use super::turns::{Turn, Turns};
use crate::application::history::History;

/// A warm connection that no batch takes for this time goes back to the pool.
const MAX_IDLE: Duration = Duration::from_millis(20);
/// A connection goes back to the pool after this time even under load, so that the pool tests it, and replaces it in time.
const MAX_AGE: Duration = Duration::from_millis(250);

/// The connections of an instance. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    turns: Turns,
    /// The least recently used first.
    warm: Mutex<Vec<Warm>>,
    stale_connections: Arc<StaleConnections>,
    history: Arc<History>,
}

#[derive(Debug)]
struct Warm {
    connection: PoolConnection<Postgres>,
    taken: Instant,
    epoch: i64,
    idle_since: Instant,
}

/// A connection with its caller's turn. Dropping it returns it to the pool.
#[derive(Debug)]
pub(crate) struct Lent {
    connection: PoolConnection<Postgres>,
    /// When it was taken from the pool.
    taken: Instant,
    /// The id of the epoch in which it was taken.
    epoch: i64,
    turn: Turn,
}

impl Connections {
    pub(super) fn new(
        pool: PgPool,
        stale_connections: Arc<StaleConnections>,
        history: Arc<History>,
    ) -> Self {
        let turns = Turns::new(pool.options().get_max_connections());
        let warm = Mutex::default();
        Self { shared: Arc::new(Shared { pool, turns, warm, stale_connections, history }) }
    }

    /// Other connections to the same server, as many as given, with the same preparation.
    pub(super) fn separate(&self, connections: u32) -> Self {
        let Shared { pool, stale_connections, history, .. } = &*self.shared;
        let options = pool.options().clone().min_connections(0).max_connections(connections);
        let pool = options.connect_lazy_with((*pool.connect_options()).clone());
        Self::new(pool, Arc::clone(stale_connections), Arc::clone(history))
    }

    /// The pool itself, for a library that acquires from it. Its users have no turns.
    pub(super) fn pool(&self) -> &PgPool {
        &self.shared.pool
    }

    /// Waits for a connection.
    pub(crate) async fn acquire(&self) -> Result<Lent, sqlx::Error> {
        let Shared { pool, turns, history, .. } = &*self.shared;
        let limit = pool.options().get_acquire_timeout();
        let turn = turns.next(limit).await.ok_or(sqlx::Error::PoolTimedOut)?;
        if let Some(Warm { connection, taken, epoch, .. }) = self.take_warm() {
            return Ok(Lent { connection, taken, epoch, turn });
        }
        // Before the connection: the pool lends none that is older than the epoch of now.
        let epoch = history.id();
        let connection = pool.acquire().await?;
        Ok(Lent { connection, taken: Instant::now(), epoch, turn })
    }

    /// Takes back a connection on which no statement runs and no transaction is open. The next caller gets it as it is.
    pub(super) fn keep(&self, lent: Lent) {
        let Lent { connection, taken, epoch, turn } = lent;
        if taken.elapsed() <= MAX_AGE && !self.shared.pool.is_closed() {
            self.warm().push(Warm { connection, taken, epoch, idle_since: Instant::now() });
            self.release_idle();
        }
        // Last: the caller that gets this turn looks for a warm connection.
        drop(turn);
    }

    /// Returns warm connections to the pool that have been idle for a while.
    pub(super) fn release_idle(&self) {
        let mut warm = self.warm();
        let idle = warm.iter().take_while(|warm| warm.idle_since.elapsed() >= MAX_IDLE).count();
        let released: Vec<Warm> = warm.drain(..idle).collect();
        drop(warm);
        drop(released);
    }

    /// How long one more caller would wait for a connection.
    pub(super) fn expected_wait(&self) -> Duration {
        self.shared.turns.expected_wait()
    }

    /// Number of callers that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.turns.waiting()
    }

    /// Connections in the pool: all, and those that nothing uses.
    pub(super) fn size_and_idle(&self) -> (u32, usize) {
        let Shared { pool, .. } = &*self.shared;
        (pool.size(), pool.num_idle() + self.warm().len())
    }

    /// The maximum number of connections.
    pub(super) fn max(&self) -> u32 {
        self.shared.pool.options().get_max_connections()
    }

    /// Whether it has been closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.pool.is_closed()
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        let warm = std::mem::take(&mut *self.warm());
        drop(warm);
        self.shared.pool.close().await;
    }

    fn take_warm(&self) -> Option<Warm> {
        loop {
            let mut warm = self.warm().pop()?;
            let Shared { stale_connections: stale, history, .. } = &*self.shared;
            if !history.is_still(warm.epoch) {
                // The server at the other end may still accept writes.
                warm.connection.close_on_drop();
                continue;
            }
            let age = warm.taken.elapsed();
            if age <= MAX_AGE && !stale.is_suspect(age) && !stale.is_unusable(age) {
                return Some(warm);
            }
            // Dropping it returns it to the pool, which tests it.
        }
    }

    fn warm(&self) -> MutexGuard<'_, Vec<Warm>> {
        self.shared.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// Closes the connection.
    pub(crate) async fn close(self) -> sqlx::Result<()> {
        self.connection.close().await
    }

    /// Closes the connection in the background.
    pub(crate) fn discard(mut self) {
        self.connection.close_on_drop();
    }

    /// The id of the epoch in which the connection was taken from the pool.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The connection and its turn, for what holds both.
    pub(super) fn into_parts(self) -> (PoolConnection<Postgres>, Turn) {
        (self.connection, self.turn)
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Runs single statements, each on a connection that goes back to the pool afterwards.
impl<'c> Executor<'c> for &'_ Connections {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let connections = self.clone();
        let all = async move {
            let mut lent = connections.acquire().await?;
            let rows: Vec<_> = (&mut *lent).fetch_many(query).try_collect().await?;
            Ok(stream::iter(rows.into_iter().map(Ok)))
        };
        Box::pin(all.try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let connections = self.clone();
        Box::pin(async move { (&mut *connections.acquire().await?).fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        let connections = self.clone();
        Box::pin(
            async move { (&mut *connections.acquire().await?).prepare_with(sql, parameters).await },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::PostgresShop;

    async fn process(lent: &mut Lent) -> i32 {
        let process = sqlx::query_scalar("SELECT pg_backend_pid()");
        process.fetch_one(&mut **lent).await.unwrap()
    }

    #[tokio::test]
    async fn the_next_caller_gets_the_connection_that_was_used_last() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (mut one, mut two) =
            (database.acquire().await.unwrap(), database.acquire().await.unwrap());
        let (first, last) = (process(&mut one).await, process(&mut two).await);
        database.keep(one);
        database.keep(two);

        let (mut one, mut two) =
            (database.acquire().await.unwrap(), database.acquire().await.unwrap());

        assert_eq!((process(&mut one).await, process(&mut two).await), (last, first));
    }

    #[tokio::test]
    async fn a_warm_connection_that_may_be_unusable_is_not_lent() {
        for record in [StaleConnections::record_unusable, StaleConnections::record_broken] {
            let shop = PostgresShop::open().await;
            let database = shop.database().await;
            let mut lent = database.acquire().await.unwrap();
            let taken = lent.taken;
            // The service records such times to the millisecond.
            sqlx::query("SELECT pg_sleep(0.01)").execute(&mut *lent).await.unwrap();
            database.keep(lent);

            record(&database.stale_connections);

            let lent = database.acquire().await.unwrap();
            assert_ne!(lent.taken, taken);
        }
    }

    #[tokio::test]
    async fn a_warm_connection_of_an_ended_history_is_not_lent() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let lent = database.acquire().await.unwrap();
        let (epoch, mut held) = (lent.epoch, Vec::new());
        shop.lose_history().await;
        database.setup.history().pretend_promotion();
        // The first new connection notices it.
        while database.history().is_still(epoch) {
            held.push(database.acquire().await.unwrap());
        }
        database.keep(lent);

        let next = database.acquire().await.unwrap();

        assert!(database.history().is_still(next.epoch));
    }

    #[tokio::test]
    async fn idle_connections_go_back_to_the_pool() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let lent = database.acquire().await.unwrap();
        let since = Instant::now();
        database.keep(lent);
        assert_eq!(database.connections.warm().len(), 1);

        while !database.connections.warm().is_empty() {
            tokio::task::yield_now().await;
            database.release_idle();
        }

        assert!(since.elapsed() >= MAX_IDLE);
    }

    #[tokio::test]
    async fn a_closed_pool_keeps_nothing() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (idle, used) = (database.acquire().await.unwrap(), database.acquire().await.unwrap());
        database.keep(idle);

        let ((), ()) = tokio::join!(database.close(), async { database.keep(used) });

        assert!(database.connections.warm().is_empty());
        assert!(database.acquire().await.is_err());
    }
}
