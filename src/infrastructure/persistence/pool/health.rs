//! The health check: whether PostgreSQL answers and commits what is written.

use std::pin::Pin;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;

use super::database::Database;
use crate::application::ports::{Health, HealthCheck};
use crate::infrastructure::circuit::Reason;

/// A commit that takes longer is reported.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A message in the write-ahead log that nothing reads: its commit writes to disk, and waits for standbys, as every other one.
const COMMIT: &str = "SELECT pg_logical_emit_message(true, 'flash-sale', 'health')::text";

/// Checks PostgreSQL.
pub(crate) struct PostgresHealth {
    database: Database,
    /// One check at a time; those who wait for it share its result.
    check: Mutex<LastCheck>,
}

#[derive(Default)]
struct LastCheck {
    began_at: Option<Instant>,
    health: Option<Health>,
    connection: Option<PgConnection>,
    /// The commit of an earlier check that is not done: a further one would wait as well, and keep another session of the server.
    commit: Option<Pending>,
}

/// A commit that is under way.
struct Pending {
    /// The process id of its session.
    session: i32,
    commit: Pin<Box<dyn Future<Output = Result<PgConnection, sqlx::Error>> + Send>>,
}

impl PostgresHealth {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, check: Mutex::default() }
    }

    /// Whether the server accepts writes and a small transaction commits in time.
    async fn commits(&self, last: &mut LastCheck) -> Result<Health, sqlx::Error> {
        if last.commit.is_none() {
            last.commit = self.begin(last.connection.take()).await?;
        }
        // It stays where it is until it is done, also if the caller gives up meanwhile.
        let Some(pending) = &mut last.commit else {
            return Ok(Health::NoWrites("postgresql is read-only".to_owned()));
        };
        if let Ok(committed) = tokio::time::timeout(COMMIT_TIMEOUT, &mut pending.commit).await {
            last.commit = None;
            last.connection = Some(committed?);
            return Ok(Health::Up);
        }
        Ok(Health::NoWrites(self.wait_of(pending.session).await?))
    }

    /// Begins a commit; `None` if the server is read-only.
    async fn begin(&self, kept: Option<PgConnection>) -> Result<Option<Pending>, sqlx::Error> {
        if self.database.pool().is_closed() {
            return Err(sqlx::Error::PoolClosed);
        }
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.database.probe().connect().await?,
        };
        let state = "SELECT pg_backend_pid(), current_setting('transaction_read_only') = 'on'";
        let (session, is_read_only): (i32, bool) =
            sqlx::query_as(state).fetch_one(&mut connection).await?;
        if is_read_only {
            // What accepts writes may be behind the same name by now: connections that were made before are not used any more.
            self.database.record_read_only();
            let _ = connection.close().await;
            return Ok(None);
        }
        let commit = Box::pin(async move {
            sqlx::query(COMMIT).execute(&mut connection).await?;
            Ok(connection)
        });
        Ok(Some(Pending { session, commit }))
    }

    async fn wait_of(&self, session: i32) -> Result<String, sqlx::Error> {
        let waits = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1";
        let event: Option<Option<String>> =
            sqlx::query_scalar(waits).bind(session).fetch_optional(self.database.pool()).await?;
        Ok(match event.flatten().as_deref() {
            Some("SyncRep") => {
                "postgresql commits nothing: a commit waits for a synchronous standby".to_owned()
            }
            Some(event) => format!("postgresql commits nothing: a commit waits for {event}"),
            None => "postgresql commits nothing in time".to_owned(),
        })
    }

    /// The result of a check that began after `arrived_at`.
    async fn checked(&self, arrived_at: Instant) -> Health {
        let mut last = self.check.lock().await;
        if let Some(health) = &last.health
            && last.began_at.is_some_and(|began_at| began_at >= arrived_at)
        {
            return health.clone();
        }
        last.began_at = Some(Instant::now());
        let health = self.commits(&mut last).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "postgresql does not answer its health check");
            Health::Down(format!("postgresql does not answer: {}", Reason::new(&error.to_string())))
        });
        last.health = Some(health.clone());
        health
    }
}

#[async_trait]
impl HealthCheck for PostgresHealth {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    async fn check(&self) -> Health {
        let arrived_at = Instant::now();
        let probe = self.database.probe();
        if !probe.is_available() {
            let state = probe.circuit_state();
            return Health::Down(format!("postgresql is away: the circuit is {state}"));
        }
        self.checked(arrived_at).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::PostgresShop;

    #[tokio::test]
    async fn a_read_only_server_is_reported_and_its_connections_are_replaced() {
        let shop = PostgresShop::open().await;
        let database = shop.single_connection_database().await;
        let health = PostgresHealth::new(database.clone());
        let session = async || {
            let pid = sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()");
            pid.fetch_one(database.pool()).await.unwrap()
        };
        let before = session().await;
        let read_only = |value| {
            format!(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {value}', \
                 current_database()); END $$"
            )
        };
        shop.execute(&read_only("on")).await;

        let reported = health.check().await;

        assert_eq!(reported, Health::NoWrites("postgresql is read-only".to_owned()));
        assert_ne!(session().await, before);
        shop.execute(&format!("SET default_transaction_read_only = off; {}", read_only("off")))
            .await;
        assert_eq!(health.check().await, Health::Up);
    }
}
