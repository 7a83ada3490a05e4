//! Opens the pool: makes a first connection, with retries, and sets what the pool does before and after it lends a connection.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};
use tokio::sync::Semaphore;

use super::connection::answers;
use super::connections::Connections;
use super::database::Database;
use super::deadline::ANSWER_MARGIN;
use super::hosts::Hosts;
use super::metrics::DatabaseMetrics;
use super::probe::{ConnectionProbe, Target};
use super::returned;
use super::server_history::ServerHistory;
use super::setup::{ConnectionSetup, Planning};
use super::stale_connections::StaleConnections;
use crate::config::DatabaseConfig;
use crate::infrastructure::circuit::{Circuit, CircuitMetrics};

/// Longest pause between two attempts to connect.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);
/// `invalid_authorization_specification`, `invalid_password`, `invalid_catalog_name` (there is no such database), and
/// `protocol_violation`, with which poolers refuse databases and users that they do not know.
const REFUSALS: [&str; 4] = ["28000", "28P01", "3D000", "08P01"];
/// One connection in this many may serve reads.
const READERS_SHARE: u32 = 3;

/// PostgreSQL cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The configuration names no database.
    #[error("database.url is not a PostgreSQL URL: {0}")]
    Url(#[source] sqlx::Error),
    /// An attempt failed for a reason that no retry heals.
    #[error("PostgreSQL refuses the connection, and trying again would not help: {0}")]
    Refused(#[source] sqlx::Error),
    /// All attempts failed.
    #[error("cannot connect to PostgreSQL after {tries} tries, giving up: {source}")]
    GaveUp {
        /// Number of attempts.
        tries: usize,
        /// The last attempt's error.
        source: sqlx::Error,
    },
}

impl Database {
    /// Connects, with exponential backoff and jitter between attempts.
    pub(crate) async fn connect(
        config: &DatabaseConfig,
        planning: Planning,
        metrics: DatabaseMetrics,
        circuits: &CircuitMetrics,
    ) -> Result<Self, ConnectError> {
        let hosts = Arc::new(Hosts::of(config).map_err(ConnectError::Url)?);
        let stale_connections = Arc::new(StaleConnections::default());
        let history = Arc::new(ServerHistory::new(Arc::clone(&stale_connections)));
        let setup = Arc::new(ConnectionSetup::new(config, planning, history));
        let pool = pool(config, hosts.current(), &setup, &stale_connections);
        let history = Arc::clone(setup.history().history());
        let connect_time = connect_with_retries(config, &hosts, &setup).await?;
        hosts.lead(&pool);
        let circuit = Circuit::new("postgresql", &config.circuit, circuits);
        let readers = usize::try_from(config.max_connections / READERS_SHARE).unwrap_or(1).max(1);
        warn_about_pool_size(&pool, config.max_connections).await;
        let target = Target { hosts, setup: Arc::clone(&setup) };
        let probe =
            ConnectionProbe::new(circuit, target, Arc::clone(&stale_connections), connect_time);
        Ok(Self {
            connections: Connections::new(pool, Arc::clone(&stale_connections), history),
            setup,
            metrics: Arc::new(metrics),
            stale_connections,
            readers: Arc::new(Semaphore::new(readers)),
            probe: Arc::new(probe),
            answer_timeout: config.statement_timeout + ANSWER_MARGIN,
        })
    }
}

fn pool(
    config: &DatabaseConfig,
    options: &PgConnectOptions,
    setup: &Arc<ConnectionSetup>,
    stale_connections: &Arc<StaleConnections>,
) -> PgPool {
    let (setup, stale_connections) = (Arc::clone(setup), Arc::clone(stale_connections));
    PgPoolOptions::new()
        .min_connections(config.min_connections)
        .max_connections(config.max_connections)
        .idle_timeout(config.idle_timeout)
        .max_lifetime(config.max_lifetime)
        .acquire_timeout(config.connect_timeout)
        // This saves every transaction a round trip. The first statement on a broken connection detects it, and from then on
        // connections of the same age are tested first.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let setup = Arc::clone(&setup);
            Box::pin(async move { setup.prepare(connection).await })
        })
        .before_acquire(move |connection, meta| {
            let unusable = stale_connections.is_unusable(meta.age);
            let suspect = stale_connections.is_suspect(meta.age);
            Box::pin(async move { Ok(!unusable && (!suspect || answers(connection).await)) })
        })
        .after_release(|connection, _| {
            Box::pin(async move { returned::reset(connection).await.map(|()| true) })
        })
        .connect_lazy_with(options.clone())
}

/// Connects outside the pool, which would hide the reason of a failure. Returns how long the successful attempt took.
async fn connect_with_retries(
    config: &DatabaseConfig,
    hosts: &Hosts,
    setup: &ConnectionSetup,
) -> Result<Duration, ConnectError> {
    let backoff = ExponentialBuilder::new()
        .with_min_delay(config.retry_delay)
        .with_max_delay(MAX_RETRY_DELAY)
        .with_max_times(config.retries)
        .with_jitter();
    (|| connect_once(hosts, setup, config.connect_timeout))
        .retry(backoff)
        .when(|error| !is_refusal(error))
        .notify(|error, pause| {
            tracing::warn!(
                %error,
                retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "cannot connect to postgresql"
            );
        })
        .await
        .map_err(|source| {
            if is_refusal(&source) {
                ConnectError::Refused(source)
            } else {
                ConnectError::GaveUp { tries: config.retries + 1, source }
            }
        })
}

async fn connect_once(
    hosts: &Hosts,
    setup: &ConnectionSetup,
    limit: Duration,
) -> Result<Duration, sqlx::Error> {
    let since = Instant::now();
    let connection = hosts.connect(setup, limit).await?;
    let took = since.elapsed();
    connection.close().await?;
    Ok(took)
}

/// Whether an operator has to act before a connection can be made: the server refuses the account, or one of the two sides the
/// other's certificate.
fn is_refusal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refusal) => {
            refusal.code().is_some_and(|code| REFUSALS.contains(&&*code))
        }
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => true,
        // What the TLS library complains about.
        sqlx::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
        _ => false,
    }
}

async fn warn_about_pool_size(pool: &PgPool, wanted: u32) {
    let Ok(text) = sqlx::query_scalar::<_, String>("SHOW max_connections").fetch_one(pool).await
    else {
        return;
    };
    if text.parse::<u32>().is_ok_and(|server| wanted > server) {
        tracing::warn!(
            pool = wanted,
            server = text,
            "database.max_connections is larger than the server's max_connections"
        );
    }
}
