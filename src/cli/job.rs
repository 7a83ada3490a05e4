//! `flash-sale job`.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::actor::actor;
use super::failure::{COULD_NOT, FAILED, Failure};
use super::output::{self, Format};
use crate::app::{Offline, OfflineJobs};
use crate::application::ports::{Cursor, Job, JobChange, JobFilter, NewJob, PortError};
use crate::config::Config;
use crate::domain::job::{JobId, JobKey, JobPriority, JobState, MAX_KEY_BYTES};

/// The columns of a table of jobs.
const COLUMNS: [&str; 8] =
    ["id", "type", "priority", "state", "attempts", "run_at", "last_error", "payload"];

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// Lists jobs, newest first.
    List(ListArgs),
    /// Shows a job.
    Show {
        /// Number of the job.
        #[arg(value_parser = parse_id)]
        id: JobId,
    },
    /// Makes a job that is scheduled, retrying or dead run now, or all dead jobs; attempts are counted from zero again.
    Retry(RetryArgs),
    /// Deletes a job that does not run.
    Discard {
        /// Number of the job.
        #[arg(value_parser = parse_id)]
        id: JobId,
    },
    /// Enqueues a job and prints it. If a job has the key already, prints that job and enqueues nothing.
    Enqueue(EnqueueArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only jobs in this state: waiting, scheduled, running, retrying, dead or done.
    #[arg(long, value_parser = parse_state)]
    state: Option<JobState>,
    /// Only jobs of this type.
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
    /// Only jobs of this priority: low, normal, high or critical.
    #[arg(long, value_parser = parse_priority)]
    priority: Option<JobPriority>,
    /// Maximum number of jobs to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Where the list goes on: `next_cursor` of the page before.
    #[arg(long, value_parser = parse_id)]
    cursor: Option<JobId>,
}

#[derive(Debug, Args)]
#[group(required = true)]
pub(super) struct RetryArgs {
    /// Number of the job.
    #[arg(value_parser = parse_id, conflicts_with_all = ["dead", "job_type"])]
    id: Option<JobId>,
    /// All dead jobs.
    #[arg(long)]
    dead: bool,
    /// Only dead jobs of this type.
    #[arg(long = "type", value_name = "TYPE", requires = "dead")]
    job_type: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct EnqueueArgs {
    /// Type of the job.
    #[arg(value_name = "TYPE")]
    job_type: String,
    /// What it works on, as its type takes it.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    payload: String,
    /// low, normal, high or critical.
    #[arg(long, default_value = "normal", value_parser = parse_priority)]
    priority: JobPriority,
    /// It does not run before this time has passed, such as 10m.
    #[arg(long = "in", default_value = "0s", value_name = "DURATION", value_parser = parse_delay)]
    delay: Duration,
    /// No second job of the type is enqueued while one has this key.
    #[arg(long, value_parser = parse_key)]
    key: Option<JobKey>,
}

fn parse_id(text: &str) -> Result<JobId, String> {
    let number = text.parse().ok();
    number.and_then(JobId::new).ok_or_else(|| "must be the number of a job".to_owned())
}

fn parse_state(text: &str) -> Result<JobState, String> {
    JobState::parse(text).ok_or_else(|| names(JobState::ALL.map(JobState::as_str)))
}

fn parse_priority(text: &str) -> Result<JobPriority, String> {
    JobPriority::parse(text).ok_or_else(|| names(JobPriority::ALL.map(JobPriority::as_str)))
}

fn names<const N: usize>(names: [&str; N]) -> String {
    format!("must be one of {}", names.join(", "))
}

/// Longer ones would be beyond what PostgreSQL calls a time.
fn parse_delay(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_hours(24 * 3_650);
    let delay = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if delay <= LONGEST { Ok(delay) } else { Err("must be at most 3650days".to_owned()) }
}

fn parse_key(text: &str) -> Result<JobKey, String> {
    let fault = || format!("must have 1 to {MAX_KEY_BYTES} bytes and no control characters");
    JobKey::parse(text).ok_or_else(fault)
}

pub(super) async fn run(
    command: JobCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let jobs = &offline.jobs;
    let result = match command {
        JobCommand::List(args) => list(args, jobs, format).await,
        JobCommand::Show { id } => show(id, jobs, format).await,
        JobCommand::Retry(RetryArgs { id: Some(id), .. }) => {
            let retried = jobs.repair.retry(id, &actor()).await;
            changed(id, retried, "retried", format)
        }
        JobCommand::Retry(args) => retry_dead(args.job_type.as_deref(), jobs, format).await,
        JobCommand::Discard { id } => {
            let discarded = jobs.repair.discard(id, &actor()).await;
            changed(id, discarded, "discarded", format)
        }
        JobCommand::Enqueue(args) => enqueue(args, jobs, format).await,
    };
    offline.close().await;
    result
}

#[expect(clippy::needless_pass_by_value, reason = "it is called by `map_err`")]
fn could_not(error: PortError) -> Failure {
    Failure::because(COULD_NOT, &error)
}

async fn list(args: ListArgs, jobs: &OfflineJobs, format: Format) -> Result<(), Failure> {
    let filter = JobFilter { state: args.state, job_type: args.job_type, priority: args.priority };
    let page = Cursor { entry: args.cursor, limit: args.limit };
    let page = jobs.reader.list(&filter, page).await.map_err(could_not)?;
    let next = page.next.map(|id| id.to_string());
    let rows: Vec<Value> = page.entries.iter().map(row).collect();
    output::page(format, &COLUMNS, &rows, next)
}

async fn show(id: JobId, jobs: &OfflineJobs, format: Format) -> Result<(), Failure> {
    match jobs.reader.find(id).await.map_err(could_not)? {
        Some(job) => output::one(format, &COLUMNS, &row(&job)),
        None => Err(not_found(id)),
    }
}

fn not_found(id: JobId) -> Failure {
    Failure::new(
        FAILED,
        format!("there is no job {id}; done and dead jobs are deleted after a while"),
    )
}

fn changed(
    id: JobId,
    change: Result<JobChange, PortError>,
    done: &str,
    format: Format,
) -> Result<(), Failure> {
    match change.map_err(could_not)? {
        JobChange::Changed(job) => output::one(format, &COLUMNS, &row(&job)),
        JobChange::NotFound => Err(not_found(id)),
        JobChange::WrongState(state) => Err(Failure::new(
            FAILED,
            format!("job {id} is {}: it cannot be {done}", state.as_str()),
        )),
        JobChange::KeyInUse => {
            Err(Failure::new(FAILED, format!("job {id} cannot be {done}: another job has its key")))
        }
    }
}

async fn retry_dead(
    job_type: Option<&str>,
    jobs: &OfflineJobs,
    format: Format,
) -> Result<(), Failure> {
    let retried = jobs.retry_dead.execute(job_type, &actor()).await.map_err(could_not)?;
    let row = json!({ "retried": retried.retried, "left": retried.left });
    output::one(format, &["retried", "left"], &row)
}

async fn enqueue(args: EnqueueArgs, jobs: &OfflineJobs, format: Format) -> Result<(), Failure> {
    let work = jobs
        .types
        .work(&args.job_type, None, &args.payload)
        .map_err(|error| Failure::because(FAILED, &error))?;
    let EnqueueArgs { priority, delay, key, .. } = args;
    let new = NewJob { work, priority, delay, key, schedule: None };
    let enqueued = jobs.queue.enqueue(&new, &actor()).await.map_err(could_not)?;
    let mut row = row(&enqueued.job);
    row["is_new"] = enqueued.is_new.into();
    output::one(format, &COLUMNS, &row)
}

/// A job, as it is printed.
pub(super) fn row(job: &Job) -> Value {
    json!({
        "id": job.id.get(),
        "type": job.job_type,
        "priority": job.priority.as_str(),
        "state": job.state.as_str(),
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "run_at": time(job.run_at),
        "last_error": job.last_error,
        "created_at": time(job.created_at),
        "payload": serde_json::from_str::<Value>(&job.payload).unwrap_or_default(),
        "version": job.version,
        "ended_at": job.ended_at.map(time),
        "worker": job.worker,
        "schedule": job.schedule,
    })
}

/// A time, as it is printed.
pub(super) fn time(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
