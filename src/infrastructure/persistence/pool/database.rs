//! The pool: how it is set, how the first connection is made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::connect::{Planning, answers, connect_once, connect_options, silent_peer};
use super::error::{DatabaseError, ErrorClass};
use super::metrics::{DatabaseMetrics, Statement};
use super::probe::Pulse;
use super::stale_connections::Suspicion;
use super::transaction::Tx;
use crate::application::ports::PortError;
use crate::config::DatabaseConfig;
use crate::infrastructure::circuit::{Circuit, CircuitMetrics, InvalidCircuit};
use crate::infrastructure::persistence::batch::contention::Company;
use crate::infrastructure::persistence::batch::recent_writes::OwnWrites;

/// Longest pause between two tries to connect.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// What an answer may take beyond `database.statement_timeout`.
pub(crate) const PATIENCE_MARGIN: Duration = Duration::from_secs(1);
/// A read whose connection was broken is tried again this often.
pub(crate) const READ_RETRIES: u32 = 2;
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
    /// The configuration makes no circuit.
    #[error("database.circuit: {0}")]
    Circuit(#[from] InvalidCircuit),
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
    /// Keeps callers away while PostgreSQL is.
    pulse: Arc<Pulse>,
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
        circuits: &CircuitMetrics,
    ) -> Result<Self, ConnectError> {
        let options = connect_options(config, planning).map_err(ConnectError::Url)?;
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
        let connecting = (|| connect_once(&options, config.connect_timeout))
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
        let circuit = Circuit::new("postgresql", &config.circuit, circuits)?;
        let readers = usize::try_from(config.max_connections / READERS_SHARE).unwrap_or(1).max(1);
        let database = Self {
            pool,
            metrics: Arc::new(metrics),
            suspicion: Arc::clone(&suspicion),
            company: Arc::default(),
            own_writes: Arc::default(),
            readers: Arc::new(Semaphore::new(readers)),
            pulse: Arc::new(Pulse::new(circuit, options, suspicion, connecting)),
            patience: config.statement_timeout + PATIENCE_MARGIN,
        };
        database.warn_about_pool_size(config.max_connections).await;
        Ok(database)
    }

    /// The pool, for statements outside a transaction.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether others write the same rows.
    pub(crate) fn company(&self) -> &Company {
        &self.company
    }

    /// What need not be read again.
    pub(crate) fn own_writes(&self) -> &OwnWrites {
        &self.own_writes
    }

    /// Fails at once while PostgreSQL is known to be away.
    pub(crate) fn reach(&self) -> Result<(), DatabaseError> {
        if self.pulse.is_felt() { Ok(()) } else { Err(self.note(DatabaseError::Away)) }
    }

    /// Runs what changes nothing, as long as PostgreSQL is not known to be away: nobody who waits for a connection or reads waits
    /// on then.
    async fn unless_lost<T>(
        &self,
        run: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, DatabaseError> {
        self.reach()?;
        tokio::select! {
            biased;
            result = run => result.map_err(|error| self.note(error.into())),
            () = self.pulse.is_lost() => Err(self.note(DatabaseError::Away)),
        }
    }

    /// Whether it is there, as far as is known.
    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Asks PostgreSQL again and again whether it is there, until `stop`.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        self.pulse.watch(stop).await;
    }

    /// A connection from the pool.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Postgres>, DatabaseError> {
        let since = Instant::now();
        let connection = self.unless_lost(Box::pin(self.pool.acquire())).await;
        self.metrics.acquired(since.elapsed());
        connection
    }

    /// Begins a transaction on a connection from the pool.
    pub(crate) async fn begin(&self, statement: &'static str) -> Result<Tx, DatabaseError> {
        let since = Instant::now();
        let transaction = self.unless_lost(Box::pin(self.pool.begin_with(statement))).await;
        self.metrics.acquired(since.elapsed());
        transaction
    }

    /// Times a statement.
    pub(crate) async fn time<T>(
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
    pub(crate) async fn read<T, R>(
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
    pub(crate) async fn read_as<T, R>(
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
                    // What the board and buyers live on does not queue behind front ends that look.
                    Statement::LiveSales | Statement::Catalogue | Statement::ReadKeys => None,
                    _ => self.readers.acquire().await.ok(),
                };
                let since = Instant::now();
                let answer = self.unless_lost(Box::pin(read())).await;
                self.metrics.queried(statement, since.elapsed());
                answer
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
    pub(crate) async fn within<T>(
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
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Counts an error, and hands it on.
    pub(crate) fn note(&self, error: DatabaseError) -> DatabaseError {
        self.metrics.failed(error.class());
        if error.is_read_only() {
            self.suspicion.condemn();
        } else if error.class() == ErrorClass::Connection {
            self.suspicion.raise();
            self.pulse.doubt();
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
