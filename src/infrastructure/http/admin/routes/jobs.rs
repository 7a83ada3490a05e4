//! `/admin/jobs`: list, enqueue, retry and discard jobs.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::parts::{
    JobNumber, JobPriorityName, JobStateName, JobTypeName, Payload, ReadProblems, Span, segment,
    span,
};
use crate::application::ports::{Job, JobChange, JobFilter, NewJob, PortError};
use crate::domain::job::{JobId, JobKey, JobPriority, JobState, MAX_KEY_BYTES};
use crate::domain::time_text::rfc3339;
use crate::infrastructure::http::admin::call::Call;
use crate::infrastructure::http::admin::metrics::Action;
use crate::infrastructure::http::admin::perform::{Done, perform};
use crate::infrastructure::http::admin::state::AdminState;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::{CursorParams, OptionalIdempotencyKeyHeader};
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::json::Json;
use crate::infrastructure::http::request::json_body::read_object;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::v2::pagination::{CursorPageBody, Paginator};

const TEN_YEARS: Duration = Duration::from_hours(24 * 3_650);

/// A job.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobBody {
    #[schema(value_type = JobNumber)]
    id: i64,
    #[serde(rename = "type")]
    #[schema(value_type = JobTypeName)]
    job_type: String,
    #[schema(value_type = JobPriorityName)]
    priority: &'static str,
    #[schema(value_type = JobStateName)]
    state: &'static str,
    /// Attempts that began.
    #[schema(minimum = 0, maximum = 65_535, examples(3))]
    attempts: u16,
    #[schema(minimum = 1, maximum = 65_535, examples(12))]
    max_attempts: u16,
    /// When it may run.
    #[schema(value_type = schema::Time)]
    run_at: String,
    /// Why its last failed attempt failed.
    #[schema(value_type = Option<String>, required = true, examples("timed out"))]
    last_error: Option<String>,
    #[schema(value_type = schema::Time)]
    created_at: String,
    #[schema(value_type = Payload)]
    payload: Value,
    /// Version of the payload.
    #[schema(minimum = 1, examples(1))]
    version: u32,
    /// When it was done or dead.
    #[schema(value_type = Option<schema::Time>, required = true)]
    ended_at: Option<String>,
    /// The worker of the last attempt.
    #[schema(value_type = Option<String>, required = true, examples("shop-1"))]
    worker: Option<String>,
    /// The schedule that has enqueued it.
    #[schema(value_type = Option<String>, required = true, examples("prune-jobs"))]
    schedule: Option<String>,
}

/// A job that was enqueued.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnqueuedJob {
    #[serde(flatten)]
    job: JobBody,
    /// False if a job with this key existed already: the response is that job.
    #[schema(examples(true))]
    is_new: bool,
}

/// A job to enqueue.
#[derive(ToSchema)]
#[schema(example = json!({"type": "noop", "payload": {}, "priority": "high", "in": "10m"}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `enqueue` parses")]
struct NewJobBody {
    #[serde(rename = "type")]
    #[schema(value_type = JobTypeName)]
    job_type: String,
    /// Default: an empty object.
    #[schema(value_type = Payload, required = false)]
    payload: Value,
    /// Default: normal.
    #[schema(value_type = JobPriorityName, required = false)]
    priority: String,
    /// It does not run before this time has passed.
    #[serde(rename = "in")]
    #[schema(value_type = Span, required = false)]
    delay: String,
    /// No second job of the type is enqueued while one has this key.
    #[schema(min_length = 1, max_length = 255, required = false)]
    key: String,
}

/// Which dead jobs to retry.
#[derive(ToSchema)]
#[schema(example = json!({"type": "noop"}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `retry_dead` parses")]
struct DeadJobs {
    /// Only jobs of this type.
    #[serde(rename = "type")]
    #[schema(value_type = JobTypeName, required = false)]
    job_type: String,
}

/// What became of the dead jobs.
#[derive(Serialize, ToSchema)]
struct RetriedBody {
    /// Jobs that wait again.
    #[schema(minimum = 0, examples(3))]
    retried: u64,
    /// Jobs that stay dead, because another job has their key.
    #[schema(minimum = 0, examples(0))]
    left: u64,
}

problems! {
    /// Errors of reads of a job.
    JobProblems in Two: "unauthorized" "forbidden" "job_not_found";
    /// Errors of changes of jobs.
    JobChangeProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "change_refused" "job_not_found";
    /// Errors of changes of jobs that have a body.
    JobBodyProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "unsupported_media_type";
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.get(),
            job_type: job.job_type,
            priority: job.priority.as_str(),
            state: job.state.as_str(),
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            run_at: rfc3339(job.run_at),
            last_error: job.last_error,
            created_at: rfc3339(job.created_at),
            payload: serde_json::from_str(&job.payload).unwrap_or_default(),
            version: job.version,
            ended_at: job.ended_at.map(rfc3339),
            worker: job.worker,
            schedule: job.schedule,
        }
    }
}

/// List jobs
///
/// The newest first.
#[utoipa::path(
    get,
    path = "/jobs",
    operation_id = "list_jobs",
    tag = "jobs",
    params(
        ("state" = Option<JobStateName>, Query, description = "Only jobs in this state."),
        ("type" = Option<JobTypeName>, Query, description = "Only jobs of this type."),
        ("priority" = Option<JobPriorityName>, Query, description = "Only jobs of this priority."),
        CursorParams,
    ),
    responses(
        (status = 200, description = "Entries of the list, and a cursor.", body = CursorPageBody<JobBody>),
        ReadProblems,
    ),
)]
pub(crate) async fn list(
    State(admin): State<AdminState>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut params = Params::parse(query.as_deref());
    let filter = JobFilter {
        state: params.optional("state", state),
        job_type: params.optional("type", type_name),
        priority: params.optional("priority", priority),
    };
    let filters = [
        filter.state.map(|state| format!("state={}&", state.as_str())),
        // Encoded, because a name is what a client has typed.
        filter.job_type.as_ref().map(|name| format!("type={}&", encoded(name))),
        filter.priority.map(|priority| format!("priority={}&", priority.as_str())),
    ];
    let filters = filters.into_iter().flatten().collect::<Vec<_>>().concat();
    let paginator = Paginator { signer: &*admin.cursors, path: uri.path(), filters };
    let cursor =
        paginator.cursor(&mut params, |position| position.parse().ok().and_then(JobId::new));
    params.finish()?;
    let page = admin.read(admin.jobs.reader.list(&filter, cursor)).await?;
    Ok(paginator.response::<_, _, JobBody>(page, cursor.limit, |next| next.get().to_string()))
}

/// Get a job
///
/// With its last error.
#[utoipa::path(
    get,
    path = "/jobs/{job_id}",
    operation_id = "show_job",
    tag = "jobs",
    params(("job_id" = JobNumber, Path, description = "The number of the job.")),
    responses((status = 200, description = "The job.", body = JobBody), JobProblems),
)]
pub(crate) async fn show(
    State(admin): State<AdminState>,
    job_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = number(job_id)?;
    let job = admin.read(admin.jobs.reader.find(id)).await?.ok_or(ApiError::JobNotFound)?;
    Ok(JsonBody(JobBody::from(job)).into_response())
}

/// Enqueue a job
///
/// Of a type that this release has, with a payload that the type takes.
#[utoipa::path(
    post,
    path = "/jobs",
    operation_id = "enqueue_job",
    tag = "jobs",
    params(OptionalIdempotencyKeyHeader),
    request_body = NewJobBody,
    responses(
        (status = 201, description = "The job was enqueued.", body = EnqueuedJob),
        (status = 200, description = "Another job has the key.", body = EnqueuedJob),
        JobBodyProblems,
    ),
)]
pub(crate) async fn enqueue(
    State(admin): State<AdminState>,
    call: Call,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let new = read_object(&call.headers, &body, &mut errors, |members| {
        let job_type =
            members.required("type", |json| json.text(|text| Ok::<_, String>(text.to_owned())));
        let payload = members.optional("payload", payload).unwrap_or_else(|| "{}".to_owned());
        let priority = members.optional("priority", |json| json.text(priority));
        let delay = members.optional("in", |json| span(json, TEN_YEARS)).unwrap_or_default();
        let key = members.optional("key", |json| json.text(key));
        let work = admin.jobs.types.work(&job_type?, None, &payload);
        let work = work.map_err(|error| members.add_error("type", error)).ok()?;
        let priority = priority.unwrap_or(JobPriority::Normal);
        Some(NewJob { work, priority, delay, key, schedule: None })
    })?;
    let (Some(new), true) = (new, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let enqueued = own.jobs.queue.enqueue(&new, &actor).await?;
        let is_new = enqueued.is_new;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        let body = EnqueuedJob { job: enqueued.job.into(), is_new };
        Ok(Done::new(status, &body, is_new.then_some(Action::JobEnqueued)))
    };
    perform(&admin, request, work).await
}

/// Retry a job
///
/// Makes a job that is scheduled, retrying or dead run now. Its attempts are counted from zero again.
#[utoipa::path(
    post,
    path = "/jobs/{job_id}/retry",
    operation_id = "retry_job",
    tag = "jobs",
    params(("job_id" = JobNumber, Path, description = "The number of the job."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The job as it is now.", body = JobBody), JobChangeProblems),
)]
pub(crate) async fn retry(
    State(admin): State<AdminState>,
    call: Call,
    job_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (id, request) = (number(job_id)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move { changed(own.jobs.repair.retry(id, &actor).await, Action::JobRetried) };
    perform(&admin, request, work).await
}

/// Discard a job
///
/// Deletes one that does not run.
#[utoipa::path(
    post,
    path = "/jobs/{job_id}/discard",
    operation_id = "discard_job",
    tag = "jobs",
    params(("job_id" = JobNumber, Path, description = "The number of the job."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The job as it was.", body = JobBody), JobChangeProblems),
)]
pub(crate) async fn discard(
    State(admin): State<AdminState>,
    call: Call,
    job_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (id, request) = (number(job_id)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work =
        async move { changed(own.jobs.repair.discard(id, &actor).await, Action::JobDiscarded) };
    perform(&admin, request, work).await
}

/// Retry dead jobs
///
/// All of them, or those of one type, each with all its attempts.
#[utoipa::path(
    post,
    path = "/jobs/retry",
    operation_id = "retry_dead_jobs",
    tag = "jobs",
    params(OptionalIdempotencyKeyHeader),
    request_body = DeadJobs,
    responses((status = 200, description = "The jobs wait again.", body = RetriedBody), JobBodyProblems),
)]
pub(crate) async fn retry_dead(
    State(admin): State<AdminState>,
    call: Call,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let job_type = if body.is_empty() {
        None
    } else {
        read_object(&call.headers, &body, &mut errors, |members| {
            members.optional("type", |json| json.text(type_name))
        })?
    };
    if !errors.is_empty() {
        return Err(ApiError::Validation(errors).into());
    }
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let retried = own.jobs.retry_dead.execute(job_type.as_deref(), &actor).await?;
        let body = RetriedBody { retried: retried.retried, left: retried.left };
        let has_changed = retried.retried > 0;
        Ok(Done::new(StatusCode::OK, &body, has_changed.then_some(Action::JobsRetried)))
    };
    perform(&admin, request, work).await
}

/// The name of a type of job, which may be one that no release has.
fn type_name(text: &str) -> Result<String, &'static str> {
    let is_name = text.len() <= 64 && !text.chars().any(char::is_control);
    if is_name { Ok(text.to_owned()) } else { Err("must be the name of a type of job") }
}

fn changed(change: Result<JobChange, PortError>, action: Action) -> Result<Done, Problem> {
    match change? {
        JobChange::Changed(job) => Ok(Done::new(StatusCode::OK, &JobBody::from(job), Some(action))),
        JobChange::NotFound => Err(ApiError::JobNotFound.into()),
        JobChange::WrongState(state) => {
            let why = format!("the job is {}", state.as_str());
            Err(Problem::detailed(ApiError::ChangeRefused, &why))
        }
        JobChange::KeyInUse => {
            Err(Problem::detailed(ApiError::ChangeRefused, &"another job has its key"))
        }
    }
}

fn number(job_id: Result<Path<String>, PathRejection>) -> Result<JobId, ApiError> {
    segment(job_id, |text| text.parse().ok().and_then(JobId::new), ApiError::JobNotFound)
}

/// A payload, as the types of jobs take it.
pub(crate) fn payload(json: &Json) -> Result<String, &'static str> {
    match json {
        Json::Object(_) => Ok(json.to_value().to_string()),
        _ => Err("must be an object"),
    }
}

fn state(text: &str) -> Result<JobState, String> {
    let known = JobState::ALL.map(JobState::as_str).join(", ");
    JobState::parse(text).ok_or_else(|| format!("must be one of {known}"))
}

fn priority(text: &str) -> Result<JobPriority, String> {
    let known = JobPriority::ALL.map(JobPriority::as_str).join(", ");
    JobPriority::parse(text).ok_or_else(|| format!("must be one of {known}"))
}

fn key(text: &str) -> Result<JobKey, String> {
    let fault = || format!("must have 1 to {MAX_KEY_BYTES} bytes and no control characters");
    JobKey::parse(text).ok_or_else(fault)
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
