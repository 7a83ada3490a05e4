//! The error body of version 1.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::catalogue::{ApiError, ValidationErrors};
use super::facts::Facts;
use crate::infrastructure::http::model::version::Version;

/// An error of version 1.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody<'e> {
    /// A short explanation for people.
    #[schema(examples("the sale has ended"))]
    message: &'static str,
    /// The error code. It does not change.
    #[schema(examples("sale_ended"))]
    code: &'static str,
    /// What else there is to say, for `unauthorized` and `rate_limited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    error: Option<&'static str>,
    /// The error of each invalid parameter, for `validation_failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = HashMap<String, String>, required = false)]
    errors: Option<&'e ValidationErrors>,
    /// The existing versions, for `unsupported_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    supported: Option<[&'static str; 2]>,
    #[serde(flatten)]
    facts: Facts,
}

/// The status and body of an error.
pub(crate) fn response(error: &ApiError) -> Response {
    let entry = error.entry();
    let body = ErrorBody {
        message: entry.message,
        code: entry.code,
        error: error.detail(),
        errors: if let ApiError::Validation(errors) = error { Some(errors) } else { None },
        supported: matches!(error, ApiError::UnsupportedVersion).then_some(Version::NAMES),
        facts: Facts::of(error),
    };
    (entry.status, Json(body)).into_response()
}
