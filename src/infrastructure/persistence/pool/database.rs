//! The pool: lends connections while PostgreSQL is available.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::connections::{Connections, Lent};
use super::error::DatabaseError;
use super::metrics::DatabaseMetrics;
use super::probe::ConnectionProbe;
use super::server_history::Server;
use super::setup::ConnectionSetup;
use super::stale_connections::StaleConnections;
use super::tx::Tx;
use crate::application::history::History;

/// The pool, with its metrics.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(super) connections: Connections,
    pub(crate) metrics: Arc<DatabaseMetrics>,
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
    pub(crate) fn pool(&self) -> &Connections {
        &self.connections
    }

    /// The same database through other connections, as many as given, with turns of their own. Only the first pool shows in
    /// the gauges.
    pub(crate) fn separate(&self, connections: u32) -> Self {
        let readers = usize::try_from(connections).unwrap_or(1).max(1);
        let connections = self.connections.separate(connections);
        self.probe.lead(connections.pool());
        Self { connections, readers: Arc::new(Semaphore::new(readers)), ..self.clone() }
    }

    /// The driver's own pool, for a library that acquires from it.
    pub(crate) fn driver_pool(&self) -> &PgPool {
        self.connections.pool()
    }

    /// The probe that knows whether PostgreSQL is available.
    pub(crate) fn probe(&self) -> &Arc<ConnectionProbe> {
        &self.probe
    }

    /// The history that this instance works in.
    pub(crate) fn history(&self) -> &Arc<History> {
        self.setup.history().history()
    }

    /// The server that writes that history; `None` until it has begun.
    pub(crate) fn server(&self) -> Option<Server> {
        self.setup.history().server()
    }

    /// Connections of the pool: those in use, and those that nothing uses.
    pub(crate) fn in_use_and_idle(&self) -> (usize, usize) {
        let (size, idle) = self.connections.size_and_idle();
        (usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(idle), idle)
    }

    /// Learns the database's epochs, whatever the circuit's state. From then on every new connection is compared with them.
    pub(crate) async fn begin_history(&self) -> Result<(), DatabaseError> {
        let mut connection = self.connections.acquire().await?;
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

    /// Waits for a connection.
    pub(crate) async fn acquire(&self) -> Result<Lent, DatabaseError> {
        let since = Instant::now();
        let connection = self.while_available(Box::pin(self.connections.acquire())).await;
        self.metrics.acquired(since.elapsed());
        connection
    }

    /// Leaves a connection to the next caller, without a round trip. No statement may run on it, and no transaction be open.
    pub(crate) fn keep(&self, connection: Lent) {
        self.connections.keep(connection);
    }

    /// Returns connections to the pool that batches have left and that no caller has taken for a while.
    pub(crate) fn release_idle(&self) {
        self.connections.release_idle();
    }

    /// How long one more caller would wait for a connection, judging by how fast they come free.
    pub(crate) fn expected_wait(&self) -> Duration {
        self.connections.expected_wait()
    }

    /// Begins a transaction on a connection from the pool.
    pub(crate) async fn begin(&self, statement: &'static str) -> Result<Tx, DatabaseError> {
        let since = Instant::now();
        let begun = async { Tx::begin(self.connections.acquire().await?, statement).await };
        let transaction = self.while_available(Box::pin(begun)).await;
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
        self.connections.close().await;
    }
}
