//! The pool: how it is set, how the first connection is made.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Postgres};
use tokio::sync::Semaphore;
use tracing::log::LevelFilter;

use super::company::Company;
use super::error::{DatabaseError, ErrorClass};
use super::last_time::LastTime;
use super::metrics::{DatabaseMetrics, Statement};
use super::own_writes::OwnWrites;
use super::transaction::Tx;
use crate::application::ports::PortError;
use crate::config::{DatabaseConfig, SslMode};

/// Longest pause between two tries to connect.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// What an answer may take beyond `database.statement_timeout`.
pub(super) const PATIENCE_MARGIN: Duration = Duration::from_secs(1);
/// An answer to a ping may take this long.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// After a connection broke, the others of its age are asked before they are used, for this long.
const SUSPICION_LASTS: Duration = Duration::from_mins(1);
/// A read whose connection was broken is tried again this often.
pub(super) const READ_RETRIES: u32 = 2;
/// One connection in so many may serve reads.
const READERS_SHARE: u32 = 3;

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

/// What statements are planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planning {
    /// Look-ups by key, which are all that requests and chores do. The planner has no choice where the statements leave it
    /// one: a plan is made once, for any number of rows, and never reads a table from its beginning to its end.
    Keys,
    /// Whole tables held against each other, as an audit does.
    Tables,
}

impl Planning {
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Keys => &[
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                // No key is looked up twice by a statement.
                ("enable_memoize", "off"),
            ],
            Self::Tables => &[],
        }
    }
}

/// The pool, with its metrics.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: PgPool,
    metrics: Arc<DatabaseMetrics>,
    suspicion: Arc<Suspicion>,
    company: Arc<Company>,
    own_writes: Arc<OwnWrites>,
    /// Reads that may run at a time: front ends that look must not keep buyers from connections.
    readers: Arc<Semaphore>,
    /// The longest that anything waits for an answer: a peer that is gone without a word answers never, and
    /// `statement_timeout` is kept by the server.
    patience: Duration,
}

impl Database {
    /// Connects, trying again with exponential backoff and jitter.
    pub(crate) async fn connect(
        config: &DatabaseConfig,
        planning: Planning,
        metrics: DatabaseMetrics,
    ) -> Result<Self, ConnectError> {
        let options = connect_options(config).map_err(ConnectError::Url)?;
        let options = options.options(planning.settings().iter().copied());
        let suspicion = Arc::new(Suspicion::default());
        let suspicious = Arc::clone(&suspicion);
        let pool = PgPoolOptions::new()
            .min_connections(config.min_connections)
            .max_connections(config.max_connections)
            .idle_timeout(config.idle_timeout)
            .max_lifetime(config.max_lifetime)
            .acquire_timeout(config.connect_timeout)
            // One round trip less for every transaction; a dead connection is noticed by its first statement, and from
            // then on connections that are as old are asked first.
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                let (suspected, condemned) =
                    (suspicious.falls_on(meta.age), suspicious.condemns(meta.age));
                Box::pin(async move { Ok(!condemned && (!suspected || answers(connection).await)) })
            })
            // The pool itself would wait for ever for a peer that is gone.
            .after_release(|connection, _| {
                Box::pin(async move {
                    if answers(connection).await { Ok(true) } else { Err(silent_peer().into()) }
                })
            })
            .connect_lazy_with(options.clone());
        let backoff = ExponentialBuilder::new()
            .with_min_delay(config.retry_delay)
            .with_max_delay(MAX_RETRY_DELAY)
            .with_max_times(config.retries)
            .with_jitter();
        // Not through the pool, which would hide why.
        (|| connect_once(&options, config.connect_timeout))
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
        let readers = usize::try_from(config.max_connections / READERS_SHARE).unwrap_or(1).max(1);
        let database = Self {
            pool,
            metrics: Arc::new(metrics),
            suspicion,
            company: Arc::default(),
            own_writes: Arc::default(),
            readers: Arc::new(Semaphore::new(readers)),
            patience: config.statement_timeout + PATIENCE_MARGIN,
        };
        database.warn_about_pool_size(config.max_connections).await;
        Ok(database)
    }

    /// The pool, for statements outside a transaction.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether others write the same rows.
    pub(super) fn company(&self) -> &Company {
        &self.company
    }

    /// What need not be read again.
    pub(super) fn own_writes(&self) -> &OwnWrites {
        &self.own_writes
    }

    /// A connection from the pool.
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

    /// Times a reading statement, for a port; waits a bounded time for its turn and for the answer, and reads again where the
    /// connection was broken.
    pub(super) async fn read<T, R>(
        &self,
        what: &'static str,
        read: impl FnMut() -> R + Send,
    ) -> Result<T, PortError>
    where
        R: Future<Output = Result<T, sqlx::Error>> + Send,
    {
        self.read_as(Statement::Read, what, read).await
    }

    /// The same, timed as a kind of its own.
    pub(super) async fn read_as<T, R>(
        &self,
        statement: Statement,
        what: &'static str,
        mut read: impl FnMut() -> R + Send,
    ) -> Result<T, PortError>
    where
        R: Future<Output = Result<T, sqlx::Error>> + Send,
    {
        let mut tries = 0;
        loop {
            let turn_and_answer = async {
                let _turn = match statement {
                    // What the board lives on does not queue behind front ends that look.
                    Statement::LiveSales | Statement::Catalogue => None,
                    _ => self.readers.acquire().await.ok(),
                };
                self.time(statement, Box::pin(read())).await
            };
            match self.within(self.patience, turn_and_answer).await {
                Err(error) if error.class() == ErrorClass::Connection && tries < READ_RETRIES => {
                    tries += 1;
                }
                result => return result.map_err(|error| error.into_port_error(what)),
            }
        }
    }

    /// Ends what does not answer in time.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        run: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        match tokio::time::timeout(limit, run).await {
            Ok(result) => result,
            Err(_) => Err(self.note(DatabaseError::Silent)),
        }
    }

    /// The longest that a transaction of the session's settings may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Counts an error, and hands it on.
    pub(super) fn note(&self, error: DatabaseError) -> DatabaseError {
        self.metrics.failed(error.class());
        if error.is_read_only() {
            self.suspicion.condemn();
        } else if error.class() == ErrorClass::Connection {
            self.suspicion.raise();
        }
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

/// When a connection broke last: others that are as old may be broken too.
#[derive(Debug, Default)]
struct Suspicion {
    raised: LastTime,
    /// When a server turned out to be read-only: what is connected to it answers, and is of no use.
    condemned: LastTime,
}

impl Suspicion {
    fn raise(&self) {
        self.raised.note();
    }

    fn condemn(&self) {
        self.condemned.note();
    }

    /// Whether a connection of this age was there already when another one broke, not long ago.
    fn falls_on(&self, age: Duration) -> bool {
        self.raised.elapsed().is_some_and(|since| since < SUSPICION_LASTS && age > since)
    }

    /// Whether a connection of this age was there already when the server turned out to be read-only.
    fn condemns(&self, age: Duration) -> bool {
        self.condemned.elapsed().is_some_and(|since| age > since)
    }
}

/// Whether the other side answers, soon.
async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}

fn silent_peer() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "the connection does not answer")
}

async fn connect_once(options: &PgConnectOptions, limit: Duration) -> Result<(), sqlx::Error> {
    match tokio::time::timeout(limit, options.connect()).await {
        Ok(connection) => connection?.close().await,
        Err(_) => Err(silent_peer().into()),
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
        // Batches need it: a statement must see what was committed before it, whatever the database's default is.
        ("default_transaction_isolation", "read committed".to_owned()),
    ]
}
