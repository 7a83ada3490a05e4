//! The pool: lends connections while PostgreSQL is available.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::DatabaseError;
use super::metrics::DatabaseMetrics;
use super::probe::ConnectionProbe;
use super::setup::ConnectionSetup;
use super::stale_connections::StaleConnections;
use super::tx::Tx;
use crate::application::history::History;

/// The pool, with its metrics.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(super) pool: PgPool,
    pub(super) metrics: Arc<DatabaseMetrics>,
    pub(super) setup: Arc<ConnectionSetup>,
    pub(super) stale_connections: Arc<StaleConnections>,
    /// Concurrent reads, which are limited so that browsing front ends leave connections to buyers.
    pub(super) readers: Arc<Semaphore>,
    /// Keeps callers away while PostgreSQL is unavailable.
    pub(super) probe: Arc<ConnectionProbe>,
    pub(super) answer_timeout: Duration,
}

impl Database {
    /// The pool, for statements outside a transaction.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The probe that knows whether PostgreSQL is available.
    pub(crate) fn probe(&self) -> &Arc<ConnectionProbe> {
        &self.probe
    }

    /// The history that this instance works in.
    pub(crate) fn history(&self) -> &Arc<History> {
        self.setup.history().history()
    }

    /// Learns the database's epochs, whatever the circuit's state. From then on every new connection is compared with them.
    pub(crate) async fn begin_history(&self) -> Result<(), DatabaseError> {
        let mut connection = self.pool.acquire().await?;
        let begun = self.setup.history().begin(&mut connection).await;
        begun.map_err(|error| self.record(error.into()))
    }

    /// Probes PostgreSQL at intervals, until `stop`.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        self.probe.watch(stop).await;
    }

    /// Fails at once while PostgreSQL is known to be unavailable.
    pub(crate) fn check_available(&self) -> Result<(), DatabaseError> {
        if self.probe.is_available() { Ok(()) } else { Err(self.record(DatabaseError::Away)) }
    }

    /// Takes a connection from the pool.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Postgres>, DatabaseError> {
        let since = Instant::now();
        let connection = self.while_available(Box::pin(self.pool.acquire())).await;
        self.metrics.acquired(since.elapsed());
        connection
    }

    /// Begins a transaction on a connection from the pool.
    pub(crate) async fn begin(&self, statement: &'static str) -> Result<Tx, DatabaseError> {
        let since = Instant::now();
        let transaction = self.while_available(Box::pin(self.pool.begin_with(statement))).await;
        self.metrics.acquired(since.elapsed());
        transaction
    }

    /// Runs what changes nothing, and abandons it as soon as PostgreSQL is known to be unavailable: waiting for a connection or
    /// for an answer would be in vain then.
    pub(super) async fn while_available<T>(
        &self,
        run: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, DatabaseError> {
        self.check_available()?;
        tokio::select! {
            biased;
            result = run => result.map_err(|error| self.record(error.into())),
            () = self.probe.unavailable() => Err(self.record(DatabaseError::Away)),
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
