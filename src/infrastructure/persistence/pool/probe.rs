//! Whether PostgreSQL is there: asked again and again over a connection of its own, which no pool that is used up can hold
//! up. While it is away, nobody waits for it.
//!
//! Callers' failures only call for a look: all connections may have been cut while the server takes new ones.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::connect::{answers, connect};
use super::stale_connections::Suspicion;
use crate::infrastructure::circuit::Circuit;

/// A look takes at most so long: it waits for no lock and no disk, so a server that takes longer serves nobody.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// Unless connecting takes long here: then it may take so many times what the first connection took.
const SLOWER_THAN_THE_FIRST: u32 = 3;

/// `admin_shutdown`, `crash_shutdown`, `cannot_connect_now`: it is about to end, or not there yet.
const COMES_OR_GOES: [&str; 3] = ["57P01", "57P02", "57P03"];

/// The circuit to PostgreSQL, and what is known of it.
#[derive(Debug)]
pub(crate) struct Pulse {
    circuit: Circuit,
    options: PgConnectOptions,
    suspicion: Arc<Suspicion>,
    look_timeout: Duration,
    /// Kept between looks.
    connection: Mutex<Option<PgConnection>>,
}

impl Pulse {
    /// `connecting` is how long the first connection took.
    pub(crate) fn new(
        circuit: Circuit,
        options: PgConnectOptions,
        suspicion: Arc<Suspicion>,
        connecting: Duration,
    ) -> Self {
        let look_timeout = LOOK_TIMEOUT.max(connecting * SLOWER_THAN_THE_FIRST);
        Self { circuit, options, suspicion, look_timeout, connection: Mutex::default() }
    }

    /// Whether callers may ask.
    pub(crate) fn is_felt(&self) -> bool {
        self.circuit.is_closed()
    }

    /// Comes back as soon as nobody may ask any more.
    pub(crate) async fn is_lost(&self) {
        self.circuit.opened().await;
    }

    /// The circuit's state, in a word.
    pub(crate) fn circuit_state(&self) -> &'static str {
        self.circuit.state_name()
    }

    /// A caller's connection broke: the next look is due now.
    pub(crate) fn doubt(&self) {
        self.circuit.doubt();
    }

    /// Looks at the circuit's pace, until `stop`.
    pub(crate) async fn watch(self: &Arc<Self>, stop: CancellationToken) {
        let look = || Arc::clone(self).is_there();
        self.circuit.watch(stop, look).await;
        if let Some(connection) = self.connection.lock().await.take() {
            let _ = tokio::time::timeout(LOOK_TIMEOUT, connection.close()).await;
        }
    }

    async fn is_there(self: Arc<Self>) -> bool {
        let look = async {
            let mut held = self.connection.lock().await;
            // A look that takes too long leaves none behind.
            let mut kept = held.take();
            if let Some(connection) = &mut kept
                && !answers(connection).await
            {
                // That one connection broke says nothing of the next.
                kept = None;
            }
            let connection = match kept {
                Some(kept) => Ok(kept),
                None => connect(&self.options, self.look_timeout).await,
            };
            let is_there = match &connection {
                Ok(_) => true,
                Err(error) => {
                    tracing::debug!(%error, "postgresql takes no connection");
                    is_answer(error)
                }
            };
            *held = connection.ok();
            is_there
        };
        let is_there = tokio::time::timeout(self.look_timeout, look).await.unwrap_or(false);
        if !is_there {
            // However long it lasts: when it is over, what was connected before it is asked before it is used.
            self.suspicion.raise();
        }
        is_there
    }
}

/// Whether a server refused, which has no room for one more, say, and may serve those that it has.
fn is_answer(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(refusal) => !refusal.code().is_some_and(|code| COMES_OR_GOES.contains(&&*code)),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::application::ports::PortError;
    use crate::config::{CircuitConfig, CircuitMode};
    use crate::infrastructure::circuit::CircuitMetrics;
    use crate::infrastructure::persistence::pool::error::{DatabaseError, ErrorClass};
    use crate::infrastructure::persistence::pool::transaction::{Options, Tx};
    use crate::testing::servers::PostgresShop;

    fn is_away<T>(result: Result<T, DatabaseError>) -> bool {
        result.is_err_and(|error| error.class() == ErrorClass::Away)
    }

    #[tokio::test]
    async fn whoever_waits_for_a_connection_or_reads_is_let_go_when_postgresql_is_away() {
        let shop = PostgresShop::open().await;
        let (narrow, wide) = (shop.narrow_database().await, shop.database().await);
        let _the_only_one = narrow.acquire().await.unwrap();
        let sleeps =
            || sqlx::query_scalar::<_, String>("SELECT pg_sleep(600)::text").fetch_one(wide.pool());
        let waits = async {
            tokio::join!(narrow.acquire(), narrow.begin("BEGIN"), wide.read("sleep", sleeps))
        };

        let ((connection, transaction, read), ()) = tokio::join!(waits, async {
            for database in [&narrow, &wide] {
                for _ in 0..3 {
                    database.pulse().circuit.failed().await;
                }
            }
        });

        assert!(is_away(connection) && is_away(transaction));
        assert!(matches!(read, Err(PortError::Unavailable { .. })), "{read:?}");
    }

    #[tokio::test]
    async fn while_it_is_away_nothing_begins_and_after_a_good_look_all_goes_on() {
        let shop = PostgresShop::open().await;
        let database = shop.database().await;
        for _ in 0..3 {
            database.pulse().circuit.failed().await;
        }
        let nothing = |tx: Tx| async move { Ok((tx, ())) };
        assert!(is_away(database.transaction(Options::WRITE, nothing).await));
        assert!(is_away(database.acquire().await));

        let ends = CancellationToken::new();
        let closes = async {
            while !database.pulse().is_felt() {
                tokio::task::yield_now().await;
            }
            ends.cancel();
        };
        tokio::join!(database.pulse().watch(ends.clone()), closes);

        database.transaction(Options::WRITE, nothing).await.unwrap();
    }

    #[tokio::test]
    async fn a_look_that_finds_nobody_casts_suspicion_on_all_that_was_connected() {
        let config = CircuitConfig {
            mode: CircuitMode::Auto,
            failures: 1,
            recovery_time: Duration::from_hours(1),
            probes: 1,
            probe_interval: Duration::from_hours(1),
        };
        let metrics = CircuitMetrics::register(&Registry::new()).unwrap();
        let circuit = Circuit::new("nobody", &config, &metrics).unwrap();
        let suspicion = Arc::new(Suspicion::default());
        let nobody = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1);
        let pulse = Arc::new(Pulse::new(circuit, nobody, Arc::clone(&suspicion), Duration::ZERO));
        assert!(!suspicion.falls_on(Duration::from_hours(1)));

        assert!(!pulse.is_there().await);

        assert!(suspicion.falls_on(Duration::from_hours(1)));
    }
}
