//! Probes PostgreSQL on a dedicated connection, so that an exhausted pool cannot delay the probe. While PostgreSQL is unavailable
//! calls fail at once.
//!
//! Failures of callers only start a probe: all their connections may have been cut while the server accepts new ones.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::connection::PING_TIMEOUT;
use super::hosts::Hosts;
use super::setup::ConnectionSetup;
use super::stale_connections::StaleConnections;
use crate::infrastructure::circuit::{Circuit, Reason};

/// Longest time of a probe. It waits for no lock and no disk, so a server that takes longer cannot serve requests either.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Where connecting is slow, a probe may take this many times as long as the first connection took.
const CONNECT_TIME_FACTOR: u32 = 3;

/// `admin_shutdown`, `crash_shutdown`, `cannot_connect_now`: the server is stopping or starting. `lock_not_available`,
/// `query_canceled`: a connection cannot be prepared, because an epoch cannot be begun.
const OF_NO_USE: [&str; 5] = ["57P01", "57P02", "57P03", "55P03", "57014"];

/// Where and how the probe connects.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) setup: Arc<ConnectionSetup>,
}

/// The circuit to PostgreSQL, with the probe that closes and opens it.
#[derive(Debug)]
pub(crate) struct ConnectionProbe {
    circuit: Circuit,
    target: Target,
    stale_connections: Arc<StaleConnections>,
    timeout: Duration,
    /// Kept between probes.
    connection: Mutex<Option<PgConnection>>,
}

impl ConnectionProbe {
    /// `connect_time` is how long the first connection took.
    pub(crate) fn new(
        circuit: Circuit,
        target: Target,
        stale_connections: Arc<StaleConnections>,
        connect_time: Duration,
    ) -> Self {
        let timeout = PROBE_TIMEOUT.max(connect_time * CONNECT_TIME_FACTOR);
        Self { circuit, target, stale_connections, timeout, connection: Mutex::default() }
    }

    /// Whether PostgreSQL is available, as far as is known.
    pub(crate) fn is_available(&self) -> bool {
        self.circuit.is_closed()
    }

    /// Returns as soon as PostgreSQL is known to be unavailable.
    pub(crate) async fn unavailable(&self) {
        self.circuit.opened().await;
    }

    /// `closed`, `open` or `half_open`.
    ///
    /// The last two with the reason.
    pub(crate) fn circuit_state(&self) -> String {
        self.circuit.describe()
    }

    /// Runs the next probe now, because a caller's connection broke.
    pub(crate) fn probe_now(&self) {
        self.circuit.doubt();
    }

    /// A connection outside the pool.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.target.hosts.connect(&self.target.setup, self.timeout).await
    }

    /// From now on this pool connects to the server that the probe finds to be the primary.
    pub(super) fn lead(&self, pool: &PgPool) {
        self.target.hosts.lead(pool);
    }

    /// Probes at the circuit's intervals, until `stop`.
    pub(crate) async fn watch(self: &Arc<Self>, stop: CancellationToken) {
        let probe = || Arc::clone(self).probe();
        self.circuit.watch(stop, probe).await;
        if let Some(connection) = self.connection.lock().await.take() {
            let _ = tokio::time::timeout(PROBE_TIMEOUT, connection.close()).await;
        }
    }

    /// Whether PostgreSQL answers, or accepts a connection; else why not.
    async fn probe(self: Arc<Self>) -> Result<(), Reason> {
        let probe = async {
            let mut held = self.connection.lock().await;
            // A probe that exceeds its timeout leaves no connection behind.
            let mut kept = held.take();
            if let Some(connection) = &mut kept
                && !is_of_use(connection).await
            {
                // One broken connection does not mean that the next one would fail.
                kept = None;
            }
            let connection = match kept {
                Some(kept) => Ok(kept),
                None => self.connect().await,
            };
            let is_up = match &connection {
                Ok(_) => Ok(()),
                Err(error) => {
                    tracing::debug!(%error, "postgresql takes no connection");
                    let reason = Reason::new(&error.to_string());
                    if is_refusal_of_a_running_server(error) { Ok(()) } else { Err(reason) }
                }
            };
            *held = connection.ok();
            is_up
        };
        let no_answer = || Err(Reason::new(&format!("no answer within {:?}", self.timeout)));
        let is_up = tokio::time::timeout(self.timeout, probe).await.unwrap_or_else(|_| no_answer());
        if is_up.is_err() {
            // Connections made before the outage are tested before use after it, however long it lasts.
            self.stale_connections.record_broken();
        }
        is_up
    }
}

/// Whether the kept connection answers, and its server is no standby.
async fn is_of_use(connection: &mut PgConnection) -> bool {
    let is_standby = sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection);
    matches!(tokio::time::timeout(PING_TIMEOUT, is_standby).await, Ok(Ok(false)))
}

/// Whether a running server refused the connection, for example because it has reached its limit: it may still serve the
/// connections that it has.
fn is_refusal_of_a_running_server(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(refusal) => !refusal.code().is_some_and(|code| OF_NO_USE.contains(&&*code)),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use sqlx::postgres::PgConnectOptions;

    use super::*;
    use crate::application::ports::PortError;
    use crate::config::{CircuitConfig, CircuitMode};
    use crate::infrastructure::circuit::CircuitMetrics;
    use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};
    use crate::infrastructure::persistence::pool::tx::{Options, Tx};
    use crate::testing::servers::PostgresShop;

    fn is_away<T>(result: Result<T, DatabaseError>) -> bool {
        result.is_err_and(|error| error.class() == ErrorClass::Away)
    }

    #[tokio::test]
    async fn waiting_for_a_connection_and_reading_end_when_postgresql_is_away() {
        let shop = PostgresShop::open().await;
        let (narrow, wide) = (shop.single_connection_database().await, shop.database().await);
        let _the_only_one = narrow.acquire().await.unwrap();
        let sleep =
            || sqlx::query_scalar::<_, String>("SELECT pg_sleep(600)::text").fetch_one(wide.pool());
        let calls = async {
            tokio::join!(narrow.acquire(), narrow.begin("BEGIN"), wide.read("sleep", sleep))
        };

        let calls = tokio::time::timeout(Duration::from_mins(1), calls);
        let (ended, ()) = tokio::join!(calls, async {
            for database in [&narrow, &wide] {
                for _ in 0..3 {
                    database.probe().circuit.failed(Reason::new("test"));
                }
            }
        });

        let (connection, transaction, read) = ended.expect("they wait for PostgreSQL");
        assert!(is_away(connection) && is_away(transaction));
        assert!(matches!(read, Err(PortError::Unavailable { .. })), "{read:?}");
    }

    #[tokio::test]
    async fn while_it_is_away_nothing_begins_and_after_a_good_probe_all_goes_on() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        for _ in 0..3 {
            database.probe().circuit.failed(Reason::new("test"));
        }
        let nothing = |tx: Tx| async move { Ok((tx, ())) };
        assert!(is_away(database.transaction(Options::WRITE, nothing).await));
        assert!(is_away(database.acquire().await));

        let cancel = CancellationToken::new();
        let until_closed = async {
            while !database.probe().is_available() {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        };
        tokio::join!(database.probe().watch(cancel.clone()), until_closed);

        database.transaction(Options::WRITE, nothing).await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_probe_makes_all_connections_suspect() {
        let config = CircuitConfig {
            mode: CircuitMode::Auto,
            failures: 1,
            recovery_time: Duration::from_hours(1),
            probes: 1,
            probe_interval: Duration::from_hours(1),
        };
        let metrics = CircuitMetrics::register(&Registry::new()).unwrap();
        let circuit = Circuit::new("nothing", &config, &metrics);
        let stale_connections = Arc::new(StaleConnections::default());
        let closed_port = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1);
        let target = Target { hosts: Arc::new(Hosts::one(closed_port)), setup: Arc::default() };
        let probe = Arc::new(ConnectionProbe::new(
            circuit,
            target,
            Arc::clone(&stale_connections),
            Duration::ZERO,
        ));
        assert!(!stale_connections.is_suspect(Duration::from_hours(1)));

        let reason = probe.probe().await.unwrap_err().to_string();

        assert!(reason.contains("refused"), "{reason}");

        assert!(stale_connections.is_suspect(Duration::from_hours(1)));
    }
}
