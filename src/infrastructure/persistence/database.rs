//! The pool: how it is set, how the first connection is made.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, PgPool, Postgres};
use tracing::log::LevelFilter;

use super::error::DatabaseError;
use super::metrics::{DatabaseMetrics, Statement};
use super::transaction::Tx;
use crate::application::ports::PortError;
use crate::config::{DatabaseConfig, SslMode};

/// Longest pause between two tries to connect.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// PostgreSQL cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The configuration names no database.
    #[error("database.url is not a PostgreSQL URL: {0}")]
    Url(#[source] sqlx::Error),
    /// All tries failed.
    #[error("cannot connect to PostgreSQL after {tries} tries, giving up: {source}")]
    GaveUp {
        /// How many.
        tries: usize,
        /// The last one's error.
        source: sqlx::Error,
    },
}

/// The pool, with its metrics.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: PgPool,
    metrics: Arc<DatabaseMetrics>,
}

impl Database {
    /// Connects, trying again with exponential backoff and jitter.
    pub(crate) async fn connect(
        config: &DatabaseConfig,
        metrics: DatabaseMetrics,
    ) -> Result<Self, ConnectError> {
        let options = connect_options(config).map_err(ConnectError::Url)?;
        let pool = PgPoolOptions::new()
            .min_connections(config.min_connections)
            .max_connections(config.max_connections)
            .idle_timeout(config.idle_timeout)
            .max_lifetime(config.max_lifetime)
            .acquire_timeout(config.connect_timeout)
            // One round trip less for every transaction; a dead connection is noticed by its first statement.
            .test_before_acquire(false)
            .connect_lazy_with(options);
        let backoff = ExponentialBuilder::new()
            .with_min_delay(config.retry_delay)
            .with_max_delay(MAX_RETRY_DELAY)
            .with_max_times(config.retries)
            .with_jitter();
        (|| async { pool.acquire().await.map(drop) })
            .retry(backoff)
            .notify(|error, pause| {
                tracing::warn!(
                    %error,
                    retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    "cannot connect to postgresql"
                );
            })
            .await
            .map_err(|source| ConnectError::GaveUp { tries: config.retries + 1, source })?;
        let database = Self { pool, metrics: Arc::new(metrics) };
        database.warn_about_pool_size(config.max_connections).await;
        Ok(database)
    }

    /// The pool, for statements outside a transaction.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, DatabaseError> {
        let since = Instant::now();
        let connection = self.pool.acquire().await;
        self.metrics.acquired(since.elapsed());
        connection.map_err(|error| self.note(error.into()))
    }

    /// Begins a transaction on a connection from the pool.
    pub(super) async fn begin(&self, statement: &'static str) -> Result<Tx, DatabaseError> {
        let since = Instant::now();
        let transaction = self.pool.begin_with(statement).await;
        self.metrics.acquired(since.elapsed());
        transaction.map_err(|error| self.note(error.into()))
    }

    /// Times a statement.
    pub(super) async fn time<T>(
        &self,
        statement: Statement,
        run: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, DatabaseError> {
        let since = Instant::now();
        let result = run.await;
        self.metrics.queried(statement, since.elapsed());
        result.map_err(|error| self.note(error.into()))
    }

    /// Times a reading statement, for a port.
    pub(super) async fn read<T>(
        &self,
        what: &'static str,
        run: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, PortError> {
        self.time(Statement::Read, run).await.map_err(|error| error.into_port_error(what))
    }

    /// Counts an error, and hands it on.
    pub(super) fn note(&self, error: DatabaseError) -> DatabaseError {
        self.metrics.failed(error.class());
        error
    }

    /// Brings the gauges of the pool up to date.
    pub(crate) fn observe_pool(&self) {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        let max = self.pool.options().get_max_connections();
        self.metrics.connections(self.pool.size(), idle, max);
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    async fn warn_about_pool_size(&self, wanted: u32) {
        let Ok(text) =
            sqlx::query_scalar::<_, String>("SHOW max_connections").fetch_one(&self.pool).await
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
}

fn connect_options(config: &DatabaseConfig) -> Result<PgConnectOptions, sqlx::Error> {
    let url = config.url.expose_secret();
    let mut options = if url.is_empty() {
        PgConnectOptions::new_without_pgpass()
    } else {
        PgConnectOptions::from_str(url)?
    };
    let parts = &config.parts;
    if let Some(host) = &parts.host {
        options = options.host(host);
    }
    if let Some(port) = parts.port {
        options = options.port(port);
    }
    if let Some(name) = &parts.name {
        options = options.database(name);
    }
    if let Some(username) = &parts.username {
        options = options.username(username);
    }
    if let Some(password) = &parts.password {
        options = options.password(password.expose_secret());
    }
    if let Some(mode) = parts.ssl_mode {
        options = options.ssl_mode(match mode {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require => PgSslMode::Require,
            SslMode::VerifyCa => PgSslMode::VerifyCa,
            SslMode::VerifyFull => PgSslMode::VerifyFull,
        });
    }
    if let Some(certificate) = &parts.ssl_root_cert {
        options = options.ssl_root_cert(certificate);
    }
    Ok(options
        .application_name("flash-sale")
        .options(session_settings(config))
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Warn, config.slow_statement))
}

/// What every session is set to. JIT is off: it compiles for longer than any statement here runs.
fn session_settings(config: &DatabaseConfig) -> Vec<(&'static str, String)> {
    let milliseconds = |time: Duration| {
        let mut text = String::new();
        let _ = write!(text, "{}ms", time.as_millis());
        text
    };
    vec![
        ("statement_timeout", milliseconds(config.statement_timeout)),
        ("lock_timeout", milliseconds(config.lock_timeout)),
        (
            "idle_in_transaction_session_timeout",
            milliseconds(config.idle_in_transaction_session_timeout),
        ),
        ("jit", "off".to_owned()),
    ]
}
