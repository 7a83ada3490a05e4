//! Jobs and schedules: what runs them, and which handler belongs to which type of job.

use std::sync::Arc;
use std::time::Duration;

use super::closing::{close_sale, drop_sales};
use super::components::Components;
use super::context::BuildContext;
use super::error::AppError;
use crate::application::drop_sales::Keep;
use crate::application::jobs::lease::Lease;
use crate::application::jobs::run_schedules::{RunSchedules, ScheduleEvent};
use crate::application::jobs::tend::TendJobs;
use crate::application::ports::{Clock, JobReader, PortError, ScheduleRuns};
use crate::infrastructure::jobs::{
    Handlers, JobMetrics, JobWorker, KnownTypes, NoHandler, RECORDS, RunCloseSales, RunDropSales,
    RunNoop, RunPruneJobs, RunPruneKeys, RunRebuildFilter, Runner, RunnerSettings, WorkerPorts,
};
use crate::infrastructure::persistence::{
    Database, PostgresJobAttempts, PostgresJobNotifications, PostgresJobReader, PostgresJobRepair,
    PostgresScheduleRuns, PostgresWorkerJobs,
};
use crate::infrastructure::schedule::CronerTimes;

/// Connections of jobs and schedules, beside those of `database.max_connections`, so that neither waits for the other. One more listens
/// for new jobs.
const CONNECTIONS: u32 = 5;
// The renewal of the lease must not wait behind ends of attempts.
const _: () = assert!(RECORDS + 2 < CONNECTIONS as usize);
/// How late a schedule may run.
const SCHEDULE_INTERVAL: Duration = Duration::from_millis(250);
/// Counting a million dead jobs takes a third of a second of the server.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// One half of the drain time is kept for what comes after the jobs.
const DRAIN_SHARE: u32 = 2;

/// Starts the job workers and the schedules of this instance.
pub(crate) fn start(context: &BuildContext<'_>, components: &Components) -> Result<(), AppError> {
    let database = context.database.separate(CONNECTIONS);
    let metrics = Arc::new(JobMetrics::register(context.registry)?);
    run_jobs(context, components, &database, &metrics)?;
    run_schedules(context, &database, &metrics);
    count_jobs(context, &database, metrics);
    Ok(())
}

fn run_jobs(
    context: &BuildContext<'_>,
    components: &Components,
    database: &Database,
    metrics: &Arc<JobMetrics>,
) -> Result<(), AppError> {
    let config = context.config;
    let clock: Arc<dyn Clock> = Arc::clone(components.cell.sale_cache.clock());
    let lease = Arc::new(Lease::new(Arc::clone(&clock)));
    let name = context.instance.name.clone();
    let jobs = Arc::new(PostgresWorkerJobs::new(database.clone()));
    let tend = TendJobs::new(jobs, clock, Arc::clone(&lease), name.clone());
    let ports = WorkerPorts {
        attempts: Arc::new(PostgresJobAttempts::new(database.clone())),
        schedules: Arc::new(PostgresScheduleRuns::new(database.clone())),
        lease,
        metrics: Arc::clone(metrics),
    };
    let timeout = context.in_force.setting(|config| config.jobs.timeout);
    let (worker, successes) = JobWorker::new(name, ports, timeout);
    let notifications = Arc::new(PostgresJobNotifications::new(database.separate(1)));
    let settings = RunnerSettings {
        workers: config.jobs.workers,
        poll_interval: config.jobs.poll_interval,
        finish_within: config.shutdown.grace + config.shutdown.drain / DRAIN_SHARE,
    };
    let handlers = handlers(context, components, database)?;
    let runner = Runner::new(worker, handlers, tend, notifications, settings);
    let (_, stop) = context.tasks.jobs.scope();
    context.tasks.jobs.run(runner.run(successes, stop));
    Ok(())
}

/// A line for each type of job.
fn handlers(
    context: &BuildContext<'_>,
    components: &Components,
    database: &Database,
) -> Result<Handlers, NoHandler> {
    let config = context.config;
    let actor = format!("drop_sales@{}", context.instance.name);
    let repair = Arc::new(PostgresJobRepair::new(database.clone()));
    let keep_done = context.in_force.setting(|config| config.jobs.keep_done);
    let keep_dead = context.in_force.setting(|config| config.jobs.keep_dead);
    let keep = context.in_force.setting(|config| config.retention.keep);
    let keep: Keep = Arc::new(move || keep.get());
    let mut handlers = Handlers::default();
    handlers.add(RunCloseSales::new(Arc::new(close_sale(config, database))));
    handlers.add(RunDropSales::new(Arc::new(drop_sales(keep, database)), actor));
    handlers.add(RunNoop);
    handlers.add(RunPruneJobs::new(repair, keep_done, keep_dead));
    handlers.add(RunPruneKeys::new(Arc::clone(&components.cell.keys)));
    handlers.add(RunRebuildFilter::new(Arc::clone(&components.cell.rebuild_filter)));
    handlers.complete()
}

fn run_schedules(context: &BuildContext<'_>, database: &Database, metrics: &Arc<JobMetrics>) {
    let runs: Arc<dyn ScheduleRuns> = Arc::new(PostgresScheduleRuns::new(database.clone()));
    let types = Arc::new(KnownTypes::new(context.config.jobs.max_attempts));
    let schedules = RunSchedules::new(runs, types, Arc::new(CronerTimes));
    let both = Arc::new((schedules, Arc::clone(metrics)));
    context.tasks.background.every("run schedules", SCHEDULE_INTERVAL, &both, run_due);
}

async fn run_due(both: Arc<(RunSchedules, Arc<JobMetrics>)>) -> Result<(), PortError> {
    let (schedules, metrics) = &*both;
    for event in schedules.execute().await? {
        match event {
            ScheduleEvent::Enqueued { missed: 0, .. } => {}
            ScheduleEvent::Enqueued { name, missed } => {
                // Each restart misses some of what runs every few seconds.
                tracing::info!(schedule = %name, missed, "a schedule missed runs: it runs once");
                metrics.schedule_ran(&name, "missed", missed);
            }
            ScheduleEvent::Refused { name, why } => {
                tracing::error!(schedule = %name, why, "a schedule cannot be run by this release");
                metrics.schedule_ran(&name, "refused", 1);
            }
        }
    }
    Ok(())
}

fn count_jobs(context: &BuildContext<'_>, database: &Database, metrics: Arc<JobMetrics>) {
    let reader: Arc<dyn JobReader> = Arc::new(PostgresJobReader::new(database.clone()));
    let both = Arc::new((reader, metrics));
    context.tasks.background.every("count jobs", COUNT_INTERVAL, &both, |both| async move {
        let (reader, metrics) = &*both;
        metrics.counted(&reader.counts().await?);
        Ok::<(), PortError>(())
    });
}
