//! Converts an error into the response of the requested version.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::catalogue::{ApiError, Source};
use super::problem_body::{self, Details};
use super::v1;
use crate::application::refusal_facts::StartFacts;
use crate::infrastructure::http::model::headers::SERVER_TIME;
use crate::infrastructure::http::model::time::rfc3339;
use crate::infrastructure::http::model::version::Version;

/// Seconds after which a refused client may repeat its request.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The cause of an error response, for the log. It is in the response's extensions, which are not sent.
#[derive(Clone)]
pub(crate) struct Cause(pub(crate) Source);

impl ApiError {
    /// The response in the format of a version.
    pub(crate) fn in_version(self, version: Version) -> Response {
        match version {
            Version::One => {
                let response = v1::response(&self);
                self.finish(response)
            }
            Version::Two => self.into_problem(Details::default()),
        }
    }

    /// The response with problem details.
    pub(crate) fn into_problem(self, details: Details) -> Response {
        let response = problem_body::response(&self, details);
        self.finish(response)
    }

    /// The response with problem details and these members.
    pub(crate) fn with_members(self, members: Map<String, Value>) -> Response {
        let response = problem_body::with_members(&self, members);
        self.finish(response)
    }

    /// Adds the headers, which do not depend on the version, and the cause.
    fn finish(self, mut response: Response) -> Response {
        let entry = self.entry();
        if entry.retry {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Self::SaleNotStarted(Some(facts)) = &self {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, seconds_until(facts).into());
            let now = HeaderValue::try_from(rfc3339(facts.now));
            headers.extend(now.ok().map(|now| (SERVER_TIME, now)));
        }
        if let Self::Unauthorized(challenge) = &self {
            let header = challenge.header();
            response.headers_mut().extend(header.map(|it| (header::WWW_AUTHENTICATE, it)));
        }
        if let Self::RateLimited(limited) = &self {
            response.headers_mut().insert(header::RETRY_AFTER, limited.retry_after.into());
        }
        if entry.close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Self::Overloaded(cause) | Self::Unavailable(cause) | Self::Internal(cause) = self {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}

/// Whole seconds until the start; at least one, because the sale is not open yet.
fn seconds_until(facts: &StartFacts) -> i64 {
    let ahead = facts.starts_at - facts.now;
    ahead.num_seconds().saturating_add(i64::from(ahead.subsec_nanos() > 0)).max(1)
}

/// In the format of version 1.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.in_version(Version::One)
    }
}
