//! Which server's history this instance works in: compares each new connection with what earlier ones showed.
//!
//! A failover ends all connections to the old primary, and a standby takes none of ours, so a history can only change between two
//! connections. The first connection to another server, database or timeline begins the next epoch in the database, and the instance
//! forgets what it learnt before that connection is used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::error::refused;
use super::stale_connections::StaleConnections;
use crate::application::history::{Adopted, History};
use crate::domain::epoch::{Epoch, Epochs};

/// It waits for an instance that is beginning the epoch, whose commit may wait for a standby to follow the new primary: for longer than
/// a batch waits for a lock.
const BEGIN: &str = "
    WITH patient AS MATERIALIZED (SELECT set_config('lock_timeout', '3s', true))
    SELECT begin_epoch($1, $2::text::pg_lsn)
    FROM patient
";
const EPOCHS: &str = r"
    SELECT number, id, first_attempt, end_attempt
    FROM epochs
    ORDER BY number
";
const PLACE: &str = r#"
    SELECT system_identifier, database::bigint AS database, timeline,
           pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS "position"
    FROM current_history()
"#;

/// A server, one of its databases, and the timeline that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) system_identifier: i64,
    pub(crate) database: i64,
    pub(crate) timeline: i32,
}

/// A server, and how far its write-ahead log is on disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerPosition {
    pub(crate) server: Server,
    pub(crate) position: i64,
}

impl ServerPosition {
    /// From a row with a column for each value.
    pub(super) fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let server = Server {
            system_identifier: row.try_get("system_identifier")?,
            database: row.try_get("database")?,
            timeline: row.try_get("timeline")?,
        };
        Ok(Self { server, position: row.try_get("position")? })
    }
}

/// The history that connections must write to.
#[derive(Debug, Default)]
pub(crate) struct ServerHistory {
    history: Arc<History>,
    stale_connections: Arc<StaleConnections>,
    /// Where the latest connection to this history was; `None` until it has begun.
    last: Mutex<Option<ServerPosition>>,
    /// Whether the epochs must be read again, although nothing has changed between two connections.
    is_doubtful: AtomicBool,
    /// After a failover all connections are new: one of them begins the epoch, and the others use it.
    beginning: tokio::sync::Mutex<()>,
}

impl ServerHistory {
    pub(crate) fn new(stale_connections: Arc<StaleConnections>) -> Self {
        Self { stale_connections, ..Self::default() }
    }

    /// The epochs, as the rest of the instance sees them.
    pub(crate) fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Compares a connection's place with the known one, and begins the next epoch if it is another history. Before
    /// [`Self::begin`], any place is accepted: the schema may be missing.
    pub(super) async fn check(
        &self,
        connection: &mut PgConnection,
        place: ServerPosition,
    ) -> Result<(), sqlx::Error> {
        if self.goes_on_at(place) {
            return Ok(());
        }
        let _turn = self.beginning.lock().await;
        // Read again: the one before may have written since this connection was made.
        let place = ServerPosition::of(&sqlx::query(PLACE).fetch_one(&mut *connection).await?)?;
        if self.goes_on_at(place) { Ok(()) } else { self.begin_now(connection).await }
    }

    /// Whether the known history goes on at this place. Before [`Self::begin`], any does.
    fn goes_on_at(&self, place: ServerPosition) -> bool {
        let Some(last) = self.last() else { return true };
        let goes_on = !self.is_doubtful.load(Ordering::Relaxed)
            && last.server == place.server
            && last.position <= place.position;
        if goes_on {
            self.set_last(place);
        }
        goes_on
    }

    /// The database has refused the epoch of this instance: another one may have begun the next. The next connection reads the epochs.
    pub(super) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    /// Reads the epochs, after beginning the next one where that is due.
    pub(crate) async fn begin(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let _turn = self.beginning.lock().await;
        self.begin_now(connection).await
    }

    async fn begin_now(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let before = self.last();
        self.is_doubtful.store(false, Ordering::Relaxed);
        let begun = self.begin_after(connection, before).await;
        if begun.is_err() {
            self.doubt();
        }
        begun
    }

    async fn begin_after(
        &self,
        connection: &mut PgConnection,
        before: Option<ServerPosition>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(BEGIN)
            .bind(self.history.id())
            .bind(before.map(|place| lsn(place.position)))
            .execute(&mut *connection)
            .await?;
        let now = ServerPosition::of(&sqlx::query(PLACE).fetch_one(&mut *connection).await?)?;
        let rows = sqlx::query(EPOCHS).fetch_all(&mut *connection).await?;
        let epochs: Result<Vec<_>, sqlx::Error> = rows.iter().map(epoch_of).collect();
        let epochs = Epochs::new(epochs?).ok_or_else(|| refused("the database has no epoch"))?;
        self.adopt(epochs, before, now)
    }

    fn adopt(
        &self,
        epochs: Epochs,
        before: Option<ServerPosition>,
        now: ServerPosition,
    ) -> Result<(), sqlx::Error> {
        let latest = epochs.latest();
        if self.history.epochs().is_some_and(|known| known.latest() != latest) {
            // Before the instance trusts the new history, so that no older connection serves it.
            self.stale_connections.record_unusable();
        }
        match self.history.adopt(epochs) {
            Adopted::First | Adopted::Known => {}
            Adopted::Next => tracing::warn!(
                epoch = latest.number,
                timeline = now.server.timeline,
                timeline_before = before.map(|place| place.server.timeline),
                position = lsn(now.position),
                seen = before.map(|place| lsn(place.position)),
                "postgresql goes on from another history: what was committed last may be lost. Everything that was learnt before is \
                 forgotten. `flash-sale verify` lists what is known to be lost"
            ),
            Adopted::Outdated => {
                return Err(refused(
                    "the server lacks an epoch that this instance has seen: it is an old primary, or a backup. If it is to be used, \
                     restart the instances",
                ));
            }
        }
        self.set_last(now);
        Ok(())
    }

    /// Makes the known place one of another timeline, as if the server had been promoted since.
    #[cfg(test)]
    pub(super) fn pretend_promotion(&self) {
        if let Some(last) = &mut *self.last.lock().unwrap() {
            last.server.timeline -= 1;
        }
    }

    /// The server that this history is written on; `None` until it has begun.
    pub(crate) fn server(&self) -> Option<Server> {
        self.last().map(|place| place.server)
    }

    fn last(&self) -> Option<ServerPosition> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Positions of one server only grow, but connections are checked concurrently.
    fn set_last(&self, place: ServerPosition) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some(last) if last.server == place.server => {
                last.position = last.position.max(place.position);
            }
            last => *last = Some(place),
        }
    }
}

fn epoch_of(row: &PgRow) -> Result<Epoch, sqlx::Error> {
    Ok(Epoch {
        number: row.try_get("number")?,
        id: row.try_get("id")?,
        first_attempt: row.try_get("first_attempt")?,
        end_attempt: row.try_get("end_attempt")?,
    })
}

/// A position in PostgreSQL's notation.
fn lsn(position: i64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::domain::cell::CellId;
    use crate::infrastructure::persistence::pool::connection::connect;
    use crate::infrastructure::persistence::pool::database::Database;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// The size of the pool.
    const CONNECTIONS: usize = 8;

    /// The process id of the session that the pool lends.
    async fn session(database: &Database) -> Result<i32, sqlx::Error> {
        let mut connection = database.pool().acquire().await?;
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *connection).await
    }

    async fn latest_epoch(shop: &PostgresShop) -> (i64, i64) {
        let latest = "SELECT number, first_attempt FROM epochs ORDER BY number DESC LIMIT 1";
        sqlx::query_as(latest).fetch_one(&shop.pool).await.unwrap()
    }

    #[tokio::test]
    async fn another_timeline_is_noticed_before_its_first_connection_is_lent() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        let (forgotten, before) = (Arc::new(AtomicU32::new(0)), session(&database).await.unwrap());
        let counter = Arc::clone(&forgotten);
        database.history().when_changed(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        shop.lose_history().await;
        database.setup.history().pretend_promotion();
        // The connections that exist are in use, so that the pool makes another one.
        let mut held = Vec::new();
        while held.len() < CONNECTIONS && forgotten.load(Ordering::Relaxed) == 0 {
            held.push(database.pool().acquire().await.unwrap());
        }

        assert_eq!(forgotten.load(Ordering::Relaxed), 1);
        assert_eq!(latest_epoch(&shop).await, (2, 1 << 34));
        drop(held);
        for _ in 0..3 {
            let lent = session(&database).await.unwrap();
            assert_ne!(lent, before, "an older connection is lent");
        }
        assert_eq!(latest_epoch(&shop).await.0, 2);
    }

    #[tokio::test]
    async fn of_many_new_connections_one_begins_the_epoch_and_waits_for_another_instance() {
        const SHORT: Duration = Duration::from_millis(20);
        const PATIENCE: Duration = Duration::from_mins(5);
        let shop = PostgresShop::with_lock_timeout(SHORT).await;
        let database = shop.database().await;
        shop.lose_history().await;
        database.setup.history().pretend_promotion();
        let mut other = shop.pool.begin().await.unwrap();
        let lock = "LOCK TABLE epochs IN SHARE ROW EXCLUSIVE MODE";
        sqlx::raw_sql(lock).execute(&mut *other).await.unwrap();
        let options = shop.plain_options();
        let connecting =
            join_all((0..CONNECTIONS).map(|_| connect(&options, &database.setup, PATIENCE)));
        let looking = async {
            let prepared = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                            AND query ~ 'acknowledges_early|begin_epoch' AND pid <> pg_backend_pid()";
            let prepared = || sqlx::query_scalar::<_, i64>(prepared).fetch_one(&shop.pool);
            while prepared().await.unwrap() < i64::try_from(CONNECTIONS).unwrap() {
                tokio::task::yield_now().await;
            }
            shop.wait_until_blocked().await;
            let blocked = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let blocked: i64 = sqlx::query_scalar(blocked).fetch_one(&shop.pool).await.unwrap();
            // Far longer than the lock timeout.
            sqlx::raw_sql("SELECT pg_sleep(0.3)").execute(&shop.pool).await.unwrap();
            other.rollback().await.unwrap();
            blocked
        };

        let (connected, blocked) = tokio::join!(connecting, looking);

        assert_eq!(blocked, 1);
        for connection in connected {
            connection.unwrap();
        }
        assert_eq!(latest_epoch(&shop).await.0, 2);
    }

    #[tokio::test]
    async fn many_instances_that_notice_at_once_begin_one_epoch() {
        let shop = PostgresShop::open().await;
        let mut instances = Vec::new();
        for _ in 0..4 {
            instances.push(shop.database().await);
        }
        shop.lose_history().await;

        join_all(instances.iter().map(Database::begin_history)).await;

        assert_eq!(latest_epoch(&shop).await.0, 2);
        let ids: Vec<i64> = instances.iter().map(|database| database.history().id()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[tokio::test]
    async fn an_epoch_that_another_instance_began_is_learnt_where_numbers_are_refused() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        // Noticed by another instance alone: the server and its position are the same for this one.
        shop.execute("UPDATE epochs SET timeline = timeline - 1").await;
        shop.database().await;
        shop.execute("UPDATE epochs SET timeline = timeline + 1 WHERE number = 1").await;

        let attempt = scene.added("ann", 1, 1).await.attempt;

        assert!(attempt.get() >= 1 << 34, "{attempt:?}");
    }

    #[tokio::test]
    async fn the_epochs_of_hundreds_of_failovers_stay_within_the_cell() {
        let shop = PostgresShop::of_cell(CellId::new(1).unwrap()).await;
        let database = shop.database().await;
        shop.execute(
            "DO $$
             BEGIN
                 FOR failover IN 1..260 LOOP
                     UPDATE epochs SET timeline = timeline - 1
                     WHERE number = (SELECT max(number) FROM epochs);
                     PERFORM begin_epoch(0, NULL);
                 END LOOP;
             END
             $$",
        )
        .await;

        database.begin_history().await.unwrap();

        let spans = "SELECT min(first_attempt), max(end_attempt), min(end_attempt - first_attempt) FROM epochs";
        let (first, end, shortest): (i64, i64, i64) =
            sqlx::query_as(spans).fetch_one(&shop.pool).await.unwrap();
        assert_eq!((first, latest_epoch(&shop).await.0), (1 << 40, 261));
        assert!(end < 2 << 40 && shortest >= 1 << 28, "{end} {shortest}");
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let attempt = scene.added("ann", 1, 1).await.attempt.get();
        assert!(attempt >= latest_epoch(&shop).await.1 && attempt < end, "{attempt}");
    }

    #[tokio::test]
    async fn an_epoch_whose_numbers_are_used_up_is_followed_by_the_next() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        shop.execute("SELECT setval('checkout_attempt_ids', end_attempt) FROM epochs").await;

        let attempt = scene.added("ann", 1, 1).await.attempt.get();

        let (number, first) = latest_epoch(&shop).await;
        assert_eq!(number, 2);
        assert!(attempt >= first, "{attempt} {first}");
    }

    #[tokio::test]
    async fn a_server_without_a_known_epoch_is_not_used() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        shop.lose_history().await;
        database.begin_history().await.unwrap();
        // As on an old primary: it lacks the epoch and its numbers, and its own latest one fits it.
        shop.execute(
            "DELETE FROM epochs WHERE number = 2; UPDATE epochs SET timeline = timeline + 1;
             SELECT setval('checkout_attempt_ids', 1)",
        )
        .await;

        let error = database.begin_history().await.unwrap_err();

        assert!(error.to_string().contains("lacks an epoch"), "{error}");
        assert_eq!(database.history().epochs().unwrap().latest().number, 2);
    }

    #[test]
    fn a_position_has_postgresqls_notation() {
        assert_eq!([0, 0x1_6B37_4D48, 0xA_0000_0001].map(lsn), ["0/0", "1/6B374D48", "A/1"]);
    }
}
