//! The composition root: the only place that names concrete adapters, and the life of the service from start to stop.
//!
//! - [`parts`]: adapters and use cases, put together; [`selling`]: those that sell. [`chores`]: what runs beside the requests. [`servers`]: what listens.
//! - [`offline`]: what commands work with that do not serve. [`services`]: how background services run and stop.

mod chores;
mod offline;
mod parts;
mod selling;
mod servers;
mod services;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::application::refusals::Refusals;
use crate::config::Config;
use crate::infrastructure::cache::InvalidRedis;
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::http::InvalidTls;
use crate::infrastructure::monitoring::{InvalidLog, Readiness, init_logging};
use crate::infrastructure::persistence::migrate;
use crate::infrastructure::persistence::{
    ConnectError, Database, DatabaseMetrics, Planning, SchemaError, check_schema,
};
use crate::infrastructure::schedule::CronCalendar;
use crate::infrastructure::signing::TagClash;

use parts::Parts;
use services::Services;

pub(crate) use crate::infrastructure::http::openapi_document as openapi;
pub(crate) use offline::{Offline, migrate_schema};
pub(crate) use selling::MakeSelling;
#[cfg(feature = "bench")]
pub(crate) use selling::one_by_one;

/// Pause between two tries to write the last refusals.
const FLUSH_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Connections are closed within this time, or left to the system.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The service cannot start, or did not end in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error(transparent)]
    Log(#[from] InvalidLog),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Redis(#[from] InvalidRedis),
    #[error(transparent)]
    Keys(#[from] TagClash),
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("http.tls: {0}")]
    Tls(#[from] InvalidTls),
    #[error("cannot listen on {0}: {1}")]
    Listen(String, #[source] io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] io::Error),
    #[error("stopped at once by a second signal: what was running may be unfinished")]
    Aborted,
    #[error("not everything that was accepted was finished within shutdown.drain")]
    DrainTimedOut,
}

/// One run of the service.
#[derive(Debug, Clone)]
struct Instance {
    run: Uuid,
    /// Its name in logs and in Redis.
    name: String,
}

impl Instance {
    fn new() -> Self {
        let run = Uuid::now_v7();
        let text = run.simple().to_string();
        // The end of a version 7 UUID is chance; its beginning is the time, alike for instances that start together.
        let name = text.get(20..).unwrap_or(&text).to_owned();
        Self { run, name }
    }
}

/// Serves until a signal, then ends in order.
pub(crate) async fn serve(config: Config) -> Result<(), AppError> {
    serve_with(config, selling::in_groups).await
}

/// The same, selling as it is told.
pub(crate) async fn serve_with(config: Config, selling: MakeSelling) -> Result<(), AppError> {
    let instance = Instance::new();
    let _log = init_logging(&config.log, &instance.name)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let mut signals = Signals::listen()?;
    let app = tokio::select! {
        app = App::build(&config, instance, selling) => app?,
        () = signals.next() => return Ok(()),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), profile = config.profile, "ready");
    app.run_until_stopped(&config, &mut signals).await
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The running service.
struct App {
    database: Database,
    make_selling: MakeSelling,
    refusals: Arc<Refusals>,
    readiness: Arc<Readiness>,
    /// Requests with effects.
    requests: TaskTracker,
    /// The servers.
    servers: Services,
    /// Chores, which end before the writers that they use.
    chores: Services,
    /// Writers of batches and the courier, which end last.
    writers: Services,
    monitoring: Services,
}

impl App {
    /// Tries until it works or the drain's time is up: a flush has a number, so repeating it counts nothing twice.
    async fn write_last_refusals(&self) {
        while let Err(error) = self.refusals.flush().await {
            tracing::warn!(%error, "the last refusals are not written yet");
            tokio::time::sleep(FLUSH_AGAIN_AFTER).await;
        }
    }

    async fn build(
        config: &Config,
        instance: Instance,
        make_selling: MakeSelling,
    ) -> Result<Self, AppError> {
        let registry = process_registry()?;
        let calendar = CronCalendar::new(&config.schedule);
        let circuits = CircuitMetrics::register(&registry)?;
        let database = Database::connect(
            &config.database,
            Planning::Keys,
            DatabaseMetrics::register(&registry)?,
            &circuits,
        )
        .await?;
        if config.database.migrate_on_start {
            migrate(&database).await?;
        }
        check_schema(&database).await?;

        let app = Self {
            database: database.clone(),
            make_selling,
            readiness: Arc::default(),
            requests: TaskTracker::new(),
            servers: Services::default(),
            chores: Services::default(),
            writers: Services::default(),
            monitoring: Services::default(),
            refusals: parts::refusals(config, database.clone(), &instance),
        };
        // Until the last refusals are written.
        let (_, stop) = app.monitoring.scope();
        app.monitoring.run(database.watch(stop));
        let parts = Parts::build(config, (&registry, &circuits), &app, &instance)?;
        chores::start(&parts, config, &app.chores, (&instance, calendar)).await;
        servers::listen(&parts, config, &registry, (&app, &instance)).await?;
        Ok(app)
    }

    /// Waits for a signal, and ends: what was accepted is finished, what was learned is written.
    async fn run_until_stopped(
        self,
        config: &Config,
        signals: &mut Signals,
    ) -> Result<(), AppError> {
        signals.next().await;
        tracing::info!("stopping: not ready any more");
        self.readiness.drain();
        let ended = async {
            // Load balancers see the failing readiness before connections are refused.
            tokio::time::sleep(config.shutdown.grace).await;
            tokio::time::timeout(config.shutdown.drain, self.drain()).await
        };
        tokio::select! {
            drained = ended => match drained {
                Ok(()) => {
                    tracing::info!("stopped");
                    Ok(())
                }
                Err(_) => Err(AppError::DrainTimedOut),
            },
            () = signals.next() => Err(AppError::Aborted),
        }
    }

    async fn drain(&self) {
        self.servers.stop().await;
        self.requests.close();
        self.requests.wait().await;
        self.chores.stop().await;
        self.writers.stop().await;
        self.write_last_refusals().await;
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.database.close()).await;
        self.monitoring.stop().await;
    }
}

fn process_registry() -> Result<Registry, AppError> {
    let registry = Registry::new();
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
    Ok(registry)
}
