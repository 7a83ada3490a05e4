//! The error body of version 2: problem details (RFC 9457).

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::catalogue::ApiError;
use super::facts::Facts;
use crate::infrastructure::http::model::links::link;
use crate::infrastructure::http::model::paths;
use crate::infrastructure::http::model::purchase::Purchase;
use crate::infrastructure::http::model::version::Version;

/// `application/problem+json`
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'e> {
    /// Link to a page about this kind of problem. It does not change.
    #[schema(format = "uri-reference", examples("/problems/sale_ended"))]
    r#type: String,
    /// A short explanation for people.
    #[schema(examples("the sale has ended"))]
    title: &'static str,
    #[schema(minimum = 400, maximum = 599, examples(410))]
    status: u16,
    /// The error code: the last segment of `type`.
    #[schema(examples("sale_ended"))]
    code: &'static str,
    /// All invalid values of the request, for `validation_failed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<InvalidValue<'e>>,
    /// The existing versions, for `unsupported_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    supported: Option<[&'static str; 2]>,
    #[serde(flatten)]
    facts: Facts,
    #[serde(flatten)]
    details: Details,
}

/// Optional members of a problem.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Details {
    /// What is wrong with this request, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub(crate) detail: Option<String>,
    /// Ids of the items that caused the refusal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) items: Vec<String>,
    /// The stored purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Purchase, required = false)]
    pub(crate) purchase: Option<Box<Purchase>>,
}

/// An invalid value: a parameter, a header or a value in the body.
#[derive(Serialize, ToSchema)]
#[schema(as = Fault)]
struct InvalidValue<'e> {
    /// The name of the parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    parameter: Option<&'e str>,
    /// The JSON Pointer into the body (RFC 6901, section 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pointer: Option<&'e str>,
    /// Why the value is invalid.
    detail: &'e str,
}

impl<'e> InvalidValue<'e> {
    fn new((name, detail): (&'e Cow<'static, str>, &'e String)) -> Self {
        let (parameter, pointer) =
            if name.starts_with('#') { (None, Some(&**name)) } else { (Some(&**name), None) };
        Self { parameter, pointer, detail }
    }
}

/// The status and body of an error, with members of its own.
pub(crate) fn with_members(error: &ApiError, members: Map<String, Value>) -> Response {
    let entry = error.entry();
    let body = problem(error, Details::default());
    let mut body = serde_json::to_value(body).unwrap_or_default();
    if let Some(own) = body.as_object_mut() {
        own.extend(members);
    }
    let mut response = (entry.status, Json(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
    response
}

/// The status and body of an error.
pub(crate) fn response(error: &ApiError, details: Details) -> Response {
    let mut response = (error.entry().status, Json(problem(error, details))).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
    response
}

fn problem(error: &ApiError, details: Details) -> ProblemBody<'_> {
    let entry = error.entry();
    let errors = if let ApiError::Validation(errors) = error { Some(errors) } else { None };
    let own = error.detail().map(str::to_owned);
    ProblemBody {
        r#type: link(&format!("{}{}", paths::PROBLEMS, entry.code)),
        title: entry.message,
        status: entry.status.as_u16(),
        code: entry.code,
        errors: errors.into_iter().flatten().map(InvalidValue::new).collect(),
        supported: matches!(error, ApiError::UnsupportedVersion).then_some(Version::NAMES),
        facts: Facts::of(error),
        details: Details { detail: details.detail.or(own), ..details },
    }
}
