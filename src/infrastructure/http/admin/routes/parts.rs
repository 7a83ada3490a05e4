//! Parts of the document that endpoints share, and their parsing.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::time_text::parse_moment;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::json::Json;
use crate::infrastructure::http::request::params::escapes_are_whole;
use crate::infrastructure::http::request::path::NOT_UTF8;

problems! {
    /// Errors of reads.
    ReadProblems in Two: "unauthorized" "forbidden";
}

/// A list that has no further pages.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeList<T> {
    pub(crate) data: Vec<T>,
    /// Null: this is the whole list.
    #[schema(value_type = Option<schema::Cursor>, required = true)]
    pub(crate) next_cursor: Option<String>,
}

impl<T> WholeList<T> {
    pub(crate) fn new(data: Vec<T>) -> Self {
        Self { data, next_cursor: None }
    }
}

/// The number of a job.
#[derive(ToSchema)]
#[schema(minimum = 1, examples(1))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct JobNumber(i64);

/// The state of a job.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case", examples("dead"))]
#[expect(dead_code, reason = "it documents `domain::job::JobState`")]
pub(crate) enum JobStateName {
    Waiting,
    Scheduled,
    Running,
    Retrying,
    Dead,
    Done,
}

/// The priority of a job.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case", examples("normal"))]
#[expect(dead_code, reason = "it documents `domain::job::JobPriority`")]
pub(crate) enum JobPriorityName {
    Low,
    Normal,
    High,
    Critical,
}

/// The name of a type of job.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 64, examples("noop"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct JobTypeName(String);

/// What a job works on, as its type takes it.
#[derive(ToSchema)]
#[schema(examples(json!({})))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct Payload(serde_json::Map<String, serde_json::Value>);

/// The name of a schedule.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$", examples("prune-jobs"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct ScheduleNameText(String);

/// The id of a webhook.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 64, examples("wh_01M8XJ9TQYB3K1MA"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct WebhookIdText(String);

/// The id of an API key.
#[derive(ToSchema)]
#[schema(min_length = 20, max_length = 20, examples("key_01M8XJ9TQYB3K1MA"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct KeyIdText(String);

/// A span of time.
#[derive(ToSchema)]
#[schema(min_length = 1, examples("1h 30m"))]
#[expect(dead_code, reason = "it documents a value")]
pub(crate) struct Span(String);

/// Parses a moment.
pub(crate) fn moment(json: &Json) -> Result<chrono::DateTime<chrono::Utc>, String> {
    json.text(parse_moment)
}

/// Parses a span of time up to `longest`.
pub(crate) fn span(
    json: &Json,
    longest: std::time::Duration,
) -> Result<std::time::Duration, String> {
    let span = json.text(humantime::parse_duration)?;
    let shown = || format!("must be at most {}", humantime::format_duration(longest));
    if span <= longest { Ok(span) } else { Err(shown()) }
}

/// A segment of the path, decoded.
pub(crate) fn segment<T>(
    path: Result<Path<String>, PathRejection>,
    parse: impl FnOnce(&str) -> Option<T>,
    not_found: ApiError,
) -> Result<T, ApiError> {
    let Ok(Path(text)) = path else { return Err(not_found) };
    parse(&text).ok_or(not_found)
}

/// Two segments of the path, decoded.
pub(crate) fn segment_pair(
    uri: &Uri,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(String, String), ApiError> {
    match path {
        Ok(Path(pair)) if escapes_are_whole(uri.path()) => Ok(pair),
        Ok(_) | Err(_) => Err(ApiError::invalid("path", NOT_UTF8)),
    }
}
