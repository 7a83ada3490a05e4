//! A pool of connections to a standby, for reads that need not come from the primary.
//!
//! It has the primary's settings and no circuit: its readers watch the server. Each connection is asked before it is lent
//! whether it may be, because a standby that is promoted keeps its connections.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use prometheus::Registry;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::Semaphore;

use super::connections::Connections;
use super::database::Database;
use super::deadline::ANSWER_MARGIN;
use super::error::refused;
use super::hosts::Hosts;
use super::metrics::DatabaseMetrics;
use super::probe::{ConnectionProbe, Target};
use super::returned;
use super::setup::standby_statement;
use super::stale_connections::StaleConnections;
use crate::config::{CircuitConfig, CircuitMode, DatabaseConfig};
use crate::infrastructure::circuit::{Circuit, CircuitMetrics};

/// Whether a connection is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It has just been made.
    First,
    /// It was lent before.
    Further,
}

/// Whether a connection may be lent.
pub(crate) type MayBeLent =
    Arc<dyn for<'c> Fn(&'c mut PgConnection, Use) -> BoxFuture<'c, bool> + Send + Sync>;

impl Database {
    /// A pool for a standby of this database, which opens no connection yet. Its statements count for itself and not for the
    /// primary, whose metrics and circuit have alerts.
    pub(crate) fn standby(
        &self,
        config: &DatabaseConfig,
        options: PgConnectOptions,
        may_be_lent: MayBeLent,
    ) -> prometheus::Result<Self> {
        let hidden = Registry::new();
        let circuit = CircuitConfig { mode: CircuitMode::Closed, ..config.circuit.clone() };
        let circuit = Circuit::new("standby", &circuit, &CircuitMetrics::register(&hidden)?);
        let stale_connections = Arc::new(StaleConnections::default());
        let pool = pool(config, may_be_lent).connect_lazy_with(options.clone());
        let history = Arc::clone(self.history());
        let target =
            Target { hosts: Arc::new(Hosts::one(options)), setup: Arc::clone(&self.setup) };
        let probe = ConnectionProbe::new(
            circuit,
            target,
            Arc::clone(&stale_connections),
            config.connect_timeout,
        );
        let readers = usize::try_from(config.max_connections).unwrap_or(1).max(1);
        Ok(Self {
            connections: Connections::new(pool, Arc::clone(&stale_connections), history),
            setup: Arc::clone(&self.setup),
            metrics: Arc::new(DatabaseMetrics::register(&hidden)?),
            stale_connections,
            readers: Arc::new(Semaphore::new(readers)),
            probe: Arc::new(probe),
            answer_timeout: config.statement_timeout + ANSWER_MARGIN,
        })
    }
}

fn pool(config: &DatabaseConfig, may_be_lent: MayBeLent) -> PgPoolOptions {
    let settings = standby_statement(config);
    let may_be_lent_again = Arc::clone(&may_be_lent);
    PgPoolOptions::new()
        .min_connections(0)
        .max_connections(config.max_connections)
        .idle_timeout(config.idle_timeout)
        .max_lifetime(config.max_lifetime)
        .acquire_timeout(config.connect_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let (settings, may_be_lent) = (settings.clone(), Arc::clone(&may_be_lent));
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *connection).await?;
                if may_be_lent(connection, Use::First).await {
                    return Ok(());
                }
                Err(refused("the replica must not be read from"))
            })
        })
        .before_acquire(move |connection, _| {
            let may_be_lent = Arc::clone(&may_be_lent_again);
            Box::pin(async move { Ok(may_be_lent(connection, Use::Further).await) })
        })
        .after_release(|connection, _| {
            Box::pin(async move { returned::reset(connection).await.map(|()| true) })
        })
}
