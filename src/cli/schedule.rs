//! `flash-sale schedule`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::actor::actor;
use super::failure::{COULD_NOT, FAILED, Failure};
use super::job;
use super::output::{self, Format};
use crate::app::{Offline, OfflineJobs};
use crate::application::jobs::change_schedules::{ChangeScheduleError, NewSchedule};
use crate::application::ports::JobSchedule;
use crate::config::Config;
use crate::domain::job::{MAX_SCHEDULE_NAME_BYTES, ScheduleName};

/// The columns of a table of schedules.
const COLUMNS: [&str; 8] =
    ["name", "cron", "time_zone", "type", "paused", "last_run_at", "last_outcome", "next_run_at"];

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// Lists all schedules.
    List,
    /// Adds a schedule; it first runs at the next time of its expression.
    Add(AddArgs),
    /// Pauses a schedule until it is resumed.
    Pause(NameArgs),
    /// Resumes a paused schedule; runs that were missed meanwhile are not made up for.
    Resume(NameArgs),
    /// Enqueues the job of a schedule now, and prints the job.
    Run(NameArgs),
    /// Removes a schedule; its jobs that are enqueued stay.
    Remove(NameArgs),
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// Name of the schedule.
    #[arg(value_parser = parse_name)]
    name: ScheduleName,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Name of the schedule: lower-case letters, digits, dots, dashes, underscores.
    #[arg(value_parser = parse_name)]
    name: ScheduleName,
    /// When it runs: second minute hour day month weekday.
    #[arg(long)]
    cron: String,
    /// Time zone of the expression, by its IANA name.
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    time_zone: String,
    /// Type of its jobs.
    #[arg(long = "type", value_name = "TYPE")]
    job_type: String,
    /// What its jobs work on, as their type takes it.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    payload: String,
}

fn parse_name(text: &str) -> Result<ScheduleName, String> {
    ScheduleName::parse(text).ok_or_else(|| {
        format!(
            "must have 1 to {MAX_SCHEDULE_NAME_BYTES} lower-case letters, digits, dots, dashes and underscores"
        )
    })
}

pub(super) async fn run(
    command: ScheduleCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let result = execute(command, &offline.jobs, format).await;
    offline.close().await;
    result
}

async fn execute(
    command: ScheduleCommand,
    jobs: &OfflineJobs,
    format: Format,
) -> Result<(), Failure> {
    let (changes, actor) = (&jobs.change_schedules, actor());
    let schedule = match command {
        ScheduleCommand::List => return list(jobs, format).await,
        ScheduleCommand::Run(NameArgs { name }) => {
            let enqueued = changes.run(&name, &actor).await.map_err(|error| failure(&error))?;
            let columns = ["id", "type", "state", "schedule"];
            return output::one(format, &columns, &job::row(&enqueued.job));
        }
        ScheduleCommand::Add(args) => {
            let AddArgs { name, cron, time_zone, job_type, payload } = args;
            changes.add(NewSchedule { name, cron, time_zone, job_type, payload }, &actor).await
        }
        ScheduleCommand::Pause(NameArgs { name }) => changes.pause(&name, &actor).await,
        ScheduleCommand::Resume(NameArgs { name }) => changes.resume(&name, &actor).await,
        ScheduleCommand::Remove(NameArgs { name }) => changes.remove(&name, &actor).await,
    };
    let schedule = schedule.map_err(|error| failure(&error))?;
    output::one(format, &COLUMNS, &row(&schedule))
}

async fn list(jobs: &OfflineJobs, format: Format) -> Result<(), Failure> {
    let schedules = jobs.schedules.list().await;
    let schedules = schedules.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let rows: Vec<Value> = schedules.iter().map(row).collect();
    output::page(format, &COLUMNS, &rows, None)
}

fn failure(error: &ChangeScheduleError) -> Failure {
    let is_refusal = !matches!(error, ChangeScheduleError::Port(_));
    Failure::because(if is_refusal { FAILED } else { COULD_NOT }, error)
}

fn row(schedule: &JobSchedule) -> Value {
    json!({
        "name": schedule.name.as_str(),
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "type": schedule.job_type,
        "payload": serde_json::from_str::<Value>(&schedule.payload).unwrap_or_default(),
        "paused": schedule.paused,
        "last_run_at": schedule.last_run_at.map(job::time),
        "last_outcome": schedule.last_outcome,
        "next_run_at": schedule.next_run_at.map(job::time),
    })
}
