//! `/admin/schedules`: list, add, pause, resume, run and remove schedules of jobs.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::jobs::{JobBody, payload};
use super::parts::{JobTypeName, Payload, ReadProblems, ScheduleNameText, WholeList, segment};
use crate::application::jobs::change_schedules::{ChangeScheduleError, NewSchedule};
use crate::application::ports::JobSchedule;
use crate::domain::job::{MAX_SCHEDULE_NAME_BYTES, ScheduleName};
use crate::domain::time_text::rfc3339;
use crate::infrastructure::http::admin::call::Call;
use crate::infrastructure::http::admin::metrics::Action;
use crate::infrastructure::http::admin::perform::{Done, perform};
use crate::infrastructure::http::admin::state::AdminState;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::OptionalIdempotencyKeyHeader;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::json::Json;
use crate::infrastructure::http::request::json_body::read_object;

/// A schedule.
#[derive(Serialize, ToSchema)]
struct ScheduleBody {
    #[schema(value_type = ScheduleNameText)]
    name: String,
    /// Second minute hour day month weekday.
    #[schema(examples("0 0 9 * * *"))]
    cron: String,
    /// By its IANA name.
    #[schema(examples("Europe/Berlin"))]
    time_zone: String,
    #[serde(rename = "type")]
    #[schema(value_type = JobTypeName)]
    job_type: String,
    #[schema(value_type = Payload)]
    payload: Value,
    #[schema(examples(false))]
    paused: bool,
    #[schema(value_type = Option<schema::Time>, required = true)]
    last_run_at: Option<String>,
    /// What became of its last job.
    #[schema(value_type = Option<String>, required = true, examples("succeeded"))]
    last_outcome: Option<String>,
    /// Null while it is paused.
    #[schema(value_type = Option<schema::Time>, required = true)]
    next_run_at: Option<String>,
}

/// A schedule to add.
#[derive(ToSchema)]
#[schema(example = json!({"name": "every-morning", "cron": "0 0 9 * * *", "time_zone": "Europe/Berlin", "type": "noop"}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `add` parses")]
struct NewScheduleBody {
    #[schema(value_type = ScheduleNameText)]
    name: String,
    /// Second minute hour day month weekday.
    #[schema(min_length = 1, max_length = 256)]
    cron: String,
    /// By its IANA name. Default: UTC.
    #[schema(min_length = 1, max_length = 64, required = false)]
    time_zone: String,
    #[serde(rename = "type")]
    #[schema(value_type = JobTypeName)]
    job_type: String,
    /// Default: an empty object.
    #[schema(value_type = Payload, required = false)]
    payload: Value,
}

problems! {
    /// Errors of changes of a schedule.
    ScheduleProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "change_refused" "schedule_not_found";
    /// Errors of additions.
    NewScheduleProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "change_refused" "unsupported_media_type";
}

impl From<JobSchedule> for ScheduleBody {
    fn from(schedule: JobSchedule) -> Self {
        Self {
            name: schedule.name.as_str().to_owned(),
            cron: schedule.cron,
            time_zone: schedule.time_zone,
            job_type: schedule.job_type,
            payload: serde_json::from_str(&schedule.payload).unwrap_or_default(),
            paused: schedule.paused,
            last_run_at: schedule.last_run_at.map(rfc3339),
            last_outcome: schedule.last_outcome,
            next_run_at: schedule.next_run_at.map(rfc3339),
        }
    }
}

/// List schedules
///
/// All of them, by name.
#[utoipa::path(
    get,
    path = "/schedules",
    operation_id = "list_schedules",
    tag = "schedules",
    responses((status = 200, description = "All schedules.", body = WholeList<ScheduleBody>), ReadProblems),
)]
pub(crate) async fn list(State(admin): State<AdminState>) -> Result<Response, Problem> {
    let schedules = admin.read(admin.jobs.schedules.list()).await?;
    let schedules = schedules.into_iter().map(ScheduleBody::from).collect();
    Ok(JsonBody(WholeList::new(schedules)).into_response())
}

/// Add a schedule
///
/// It first runs at the next time of its expression.
#[utoipa::path(
    post,
    path = "/schedules",
    operation_id = "add_schedule",
    tag = "schedules",
    params(OptionalIdempotencyKeyHeader),
    request_body = NewScheduleBody,
    responses(
        (status = 201, description = "The schedule was added.", body = ScheduleBody),
        NewScheduleProblems,
    ),
)]
pub(crate) async fn add(
    State(admin): State<AdminState>,
    call: Call,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let new = read_object(&call.headers, &body, &mut errors, |members| {
        let name = members.required("name", |json| json.text(schedule_name));
        let cron = members.required("cron", |json| filled(json, 256));
        let time_zone = members.optional("time_zone", |json| filled(json, 64));
        let job_type = members.required("type", |json| filled(json, 64));
        let payload = members.optional("payload", payload);
        Some(NewSchedule {
            name: name?,
            cron: cron?,
            time_zone: time_zone.unwrap_or_else(|| "UTC".to_owned()),
            job_type: job_type?,
            payload: payload.unwrap_or_else(|| "{}".to_owned()),
        })
    })?;
    let (Some(new), true) = (new, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let added = own.jobs.change_schedules.add(new, &actor).await;
        let added = added.map_err(refused)?;
        let body = ScheduleBody::from(added);
        Ok(Done::new(StatusCode::CREATED, &body, Some(Action::ScheduleAdded)))
    };
    perform(&admin, request, work).await
}

/// Pause a schedule
///
/// It does not run until it is resumed.
#[utoipa::path(
    post,
    path = "/schedules/{name}/pause",
    operation_id = "pause_schedule",
    tag = "schedules",
    params(("name" = ScheduleNameText, Path, description = "The schedule."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The schedule as it is now.", body = ScheduleBody), ScheduleProblems),
)]
pub(crate) async fn pause(
    State(admin): State<AdminState>,
    call: Call,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (name, request) = (named(name)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let paused = own.jobs.change_schedules.pause(&name, &actor).await;
        changed(paused, Action::SchedulePaused)
    };
    perform(&admin, request, work).await
}

/// Resume a schedule
///
/// At its next time. It makes up for nothing.
#[utoipa::path(
    post,
    path = "/schedules/{name}/resume",
    operation_id = "resume_schedule",
    tag = "schedules",
    params(("name" = ScheduleNameText, Path, description = "The schedule."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The schedule as it is now.", body = ScheduleBody), ScheduleProblems),
)]
pub(crate) async fn resume(
    State(admin): State<AdminState>,
    call: Call,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (name, request) = (named(name)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let resumed = own.jobs.change_schedules.resume(&name, &actor).await;
        changed(resumed, Action::ScheduleResumed)
    };
    perform(&admin, request, work).await
}

/// Run a schedule
///
/// Enqueues its job now. Its next run stays where it is.
#[utoipa::path(
    post,
    path = "/schedules/{name}/run",
    operation_id = "run_schedule",
    tag = "schedules",
    params(("name" = ScheduleNameText, Path, description = "The schedule."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The job.", body = JobBody), ScheduleProblems),
)]
pub(crate) async fn run(
    State(admin): State<AdminState>,
    call: Call,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (name, request) = (named(name)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let ran = own.jobs.change_schedules.run(&name, &actor).await.map_err(refused)?;
        Ok(Done::new(StatusCode::OK, &JobBody::from(ran.job), Some(Action::ScheduleRan)))
    };
    perform(&admin, request, work).await
}

/// Remove a schedule
///
/// Its jobs that are enqueued stay.
#[utoipa::path(
    delete,
    path = "/schedules/{name}",
    operation_id = "remove_schedule",
    tag = "schedules",
    params(("name" = ScheduleNameText, Path, description = "The schedule."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The schedule as it was.", body = ScheduleBody), ScheduleProblems),
)]
pub(crate) async fn remove(
    State(admin): State<AdminState>,
    call: Call,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (name, request) = (named(name)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let removed = own.jobs.change_schedules.remove(&name, &actor).await;
        changed(removed, Action::ScheduleRemoved)
    };
    perform(&admin, request, work).await
}

fn changed(
    schedule: Result<JobSchedule, ChangeScheduleError>,
    action: Action,
) -> Result<Done, Problem> {
    let schedule = schedule.map_err(refused)?;
    Ok(Done::new(StatusCode::OK, &ScheduleBody::from(schedule), Some(action)))
}

fn refused(error: ChangeScheduleError) -> Problem {
    match error {
        ChangeScheduleError::NotFound(_) => ApiError::ScheduleNotFound.into(),
        ChangeScheduleError::Port(error) => error.into(),
        ChangeScheduleError::Times(why) => ApiError::invalid("#/cron", why.to_string()).into(),
        ChangeScheduleError::Work(why) => ApiError::invalid("#/type", why.to_string()).into(),
        error @ ChangeScheduleError::Never(_) => {
            ApiError::invalid("#/cron", error.to_string()).into()
        }
        error @ (ChangeScheduleError::Exists(_)
        | ChangeScheduleError::TooMany
        | ChangeScheduleError::Refused(_)) => Problem::detailed(ApiError::ChangeRefused, &error),
    }
}

fn named(name: Result<Path<String>, PathRejection>) -> Result<ScheduleName, ApiError> {
    segment(name, ScheduleName::parse, ApiError::ScheduleNotFound)
}

fn schedule_name(text: &str) -> Result<ScheduleName, String> {
    ScheduleName::parse(text).ok_or_else(|| {
        format!(
            "must have 1 to {MAX_SCHEDULE_NAME_BYTES} lower-case letters, digits, dots, dashes and underscores"
        )
    })
}

fn filled(json: &Json, max: usize) -> Result<String, String> {
    json.text(|text| {
        let is_filled = (1..=max).contains(&text.len()) && !text.contains('\0');
        if is_filled { Ok(text.to_owned()) } else { Err(format!("must have 1 to {max} bytes")) }
    })
}
