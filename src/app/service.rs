//! The service from start to stop.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;

use super::background;
use super::cell::Cell;
use super::components::Components;
use super::context::BuildContext;
use super::deliveries::Deliveries;
use super::error::AppError;
use super::instance::Instance;
use super::limits::CLOSE_TIMEOUT;
use super::low_priority::Beside;
use super::reload;
use super::selling::{MakeSelling, in_groups};
use super::servers;
use super::signals::{Hangup, Signals};
use super::slow_statements::slow_statements;
use super::task_groups::TaskGroups;
use super::workers;
use crate::application::ports::Causes;
use crate::application::refusals::Refusals;
use crate::config::{Config, InForce, TimeZoneRules};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::monitoring::{LogLevel, Readiness, init_logging};
use crate::infrastructure::otlp::trace_to;
use crate::infrastructure::persistence::{
    Database, DatabaseMetrics, Planning, Replicas, SchemaError, check_cell, check_requirements,
    check_schema, check_sessions, check_unsubscribed, migrate, take_cell,
};

/// The last refusals have this part of the drain time for themselves, which no other step can use up.
const LAST_FLUSH_PART: u32 = 4;
/// Delay between two attempts to write the last refusals.
const FLUSH_RETRY_DELAY: Duration = Duration::from_millis(200);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It serves buyers, and runs jobs unless the configuration says otherwise.
    Service,
    /// It runs jobs.
    Worker,
}

/// Serves until a signal, then stops in order.
pub(crate) async fn serve(config: Config) -> Result<(), AppError> {
    serve_with(config, in_groups).await
}

/// [`serve`] with other adapters for checkouts and purchases.
pub(crate) async fn serve_with(config: Config, selling: MakeSelling) -> Result<(), AppError> {
    run(config, Role::Service, selling).await
}

/// Runs jobs and schedules, without serving buyers, until a signal; then stops in order.
pub(crate) async fn work(config: Config) -> Result<(), AppError> {
    run(config, Role::Worker, in_groups).await
}

async fn run(config: Config, role: Role, selling: MakeSelling) -> Result<(), AppError> {
    let instance = Instance::new();
    let (_log, level) = init_logging(&config.log, &instance.name, slow_statements())?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let rules = TimeZoneRules::in_use();
    tracing::info!(release = rules.release_name(), source = rules.source(), "rules of time zones");
    let mut signals = Signals::listen()?;
    let reloads = (level, Hangup::listen()?);
    let in_force = InForce::new(config);
    let app = tokio::select! {
        app = App::build(&in_force, &instance, (role, selling), reloads) => app?,
        () = signals.next() => return Ok(()),
    };
    let profile = in_force.get().profile.clone();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), profile, "ready");
    app.run_until_stopped(&in_force, &mut signals).await
}

/// Some accepted requests were not finished in time.
struct Unfinished;

/// The running service.
struct App {
    database: Database,
    replicas: Arc<Replicas>,
    refusals: Arc<Refusals>,
    deliveries: Deliveries,
    readiness: Arc<Readiness>,
    tasks: TaskGroups,
}

impl App {
    async fn build(
        in_force: &InForce,
        instance: &Instance,
        (role, make_selling): (Role, MakeSelling),
        (level, hangup): (LogLevel, Hangup),
    ) -> Result<Self, AppError> {
        let started = in_force.get();
        let config = &*started;
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let circuits = CircuitMetrics::register(&registry)?;
        let metrics = DatabaseMetrics::register(&registry)?;
        let database =
            Database::connect(&config.database, Planning::Keys, metrics, &circuits).await?;
        check_sessions(&database).await?;
        check_requirements(&database).await?;
        if config.database.migrate_on_start {
            migrate(&database).await?;
            take_cell(&database, config.database.cell).await?;
        }
        check_unsubscribed(&database).await?;
        check_schema(&database).await?;
        check_cell(&database, config.database.cell).await?;
        database.begin_history().await.map_err(SchemaError::from)?;

        let (tasks, readiness) = (TaskGroups::default(), Arc::<Readiness>::default());
        if let Some(exporter) = trace_to(&config.telemetry, &instance.name, &registry)? {
            let (_, stop) = tasks.monitoring.scope();
            tasks.monitoring.run(exporter.run(stop));
        }
        // In the last group, because the last refusals are written to PostgreSQL.
        let (_, stop) = tasks.monitoring.scope();
        tasks.monitoring.run(database.clone().watch(stop));
        let context = BuildContext {
            config,
            in_force,
            instance,
            registry: &registry,
            circuits: &circuits,
            database: &database,
            tasks: &tasks,
            make_selling,
        };
        let components = Components::build(&context)?;
        let beside = match role {
            Role::Service => Beside::Requests,
            Role::Worker => Beside::Nothing,
        };
        let deliveries = Deliveries::build(&context, &components, beside)?;
        let open_sales = match role {
            Role::Service => Some(background::start(&context, &components).await),
            Role::Worker => {
                background::start_for_worker(&context, &components).await;
                None
            }
        };
        reload::start(&context, &components, (level, open_sales), hangup);
        if role == Role::Worker || config.jobs.enabled {
            workers::start(&context, &components)?;
            deliveries.start(&context).await;
        }
        match role {
            Role::Service => servers::listen(&context, &components, &readiness).await?,
            Role::Worker => {
                servers::listen_for_operators(&context, &components, &readiness).await?;
            }
        }
        let Cell { refusals, replicas, .. } = components.cell;
        Ok(Self { database, replicas, refusals, deliveries, readiness, tasks })
    }

    /// Waits for a signal, then finishes accepted requests and writes what is still in memory.
    async fn run_until_stopped(
        self,
        in_force: &InForce,
        signals: &mut Signals,
    ) -> Result<(), AppError> {
        signals.next().await;
        let config = in_force.get();
        tracing::info!("stopping: not ready any more");
        self.readiness.drain();
        // They have the grace time as well, in which nothing is asked of them.
        self.tasks.jobs.begin_stop();
        let ended = async {
            // Load balancers see the failing readiness before connections are refused.
            tokio::time::sleep(config.shutdown.grace).await;
            tokio::time::timeout(config.shutdown.drain, self.drain(config.shutdown.drain)).await
        };
        tokio::select! {
            drained = ended => match drained {
                Ok(Ok(())) => {
                    tracing::info!("stopped");
                    Ok(())
                }
                Ok(Err(Unfinished)) | Err(_) => Err(AppError::DrainTimedOut),
            },
            () = signals.next() => Err(AppError::Aborted),
        }
    }

    /// Finishes what was accepted, as far as there is time, and then writes the last refusals in any case: what a client got
    /// as an answer is on record even if another client's request could not be finished.
    async fn drain(&self, time: Duration) -> Result<(), Unfinished> {
        let reserved = time / LAST_FLUSH_PART;
        let for_accepted = time.saturating_sub(reserved);
        let finished = tokio::time::timeout(for_accepted, self.finish_accepted()).await;
        if finished.is_err() {
            tracing::warn!("accepted requests are not finished: writing the last refusals");
        }
        self.write_last_refusals().await;
        finished.map_err(|_| Unfinished)?;
        let close = async { tokio::join!(self.database.close(), self.replicas.close()) };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, close).await;
        self.tasks.monitoring.stop().await;
        Ok(())
    }

    async fn finish_accepted(&self) {
        self.tasks.servers.stop().await;
        self.tasks.requests.close();
        self.tasks.requests.wait().await;
        self.tasks.jobs.stop().await;
        self.tasks.background.stop().await;
        self.deliveries.release().await;
        self.tasks.writers.stop().await;
    }

    /// Retries until it works or the drain times out. A flush has a number, so a retry counts nothing twice.
    async fn write_last_refusals(&self) {
        while let Err(error) = self.refusals.flush().await {
            tracing::warn!(error = %Causes(&error), "the last refusals are not written yet");
            tokio::time::sleep(FLUSH_RETRY_DELAY).await;
        }
    }
}
