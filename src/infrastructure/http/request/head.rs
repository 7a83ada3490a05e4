//! The head of a request: its size, its framing, and whether it may name a version, in one pass over the header lines.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Request, header};

use super::framing::Framing;
use super::version;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::headers::API_VERSION;

/// Maximum size of the request target, far above that of any valid request. Above it the status is 414.
const MAX_URI_BYTES: usize = 16_384;
/// Bytes of a header line beside its name and value: colon, space and line end.
const HEADER_LINE_BYTES: usize = 4;

/// Limits of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// Maximum size of the request line and headers. The HTTP library's own limit is less exact: its buffer grows in steps.
    pub(crate) max_head_bytes: usize,
    /// Maximum size of the body.
    pub(crate) max_body_bytes: usize,
    /// Whether bodies are needed that no handler reads, because they are signed.
    pub(crate) keep_bodies: bool,
    /// Maximum time to receive the body.
    pub(crate) body_timeout: Duration,
}

/// What a valid head contains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Whether a header may name the requested version.
    pub(crate) may_name_version: bool,
}

impl RequestLimits {
    /// Checks the size of the head, and that its framing is unambiguous.
    pub(crate) fn check_head<B>(self, request: &Request<B>) -> Result<Head, ApiError> {
        let uri = request.uri();
        let target = uri.path().len() + uri.query().map_or(0, |query| 1 + query.len());
        if target > MAX_URI_BYTES {
            return Err(ApiError::UriTooLong);
        }
        let (mut bytes, mut framing, mut may_name_version) = (0, Framing::default(), false);
        for (name, value) in request.headers() {
            bytes += name.as_str().len() + value.len() + HEADER_LINE_BYTES;
            if !framing.count(name, value) {
                may_name_version |= names_version(name, value);
            }
        }
        if target + bytes > self.max_head_bytes {
            return Err(ApiError::HeadTooLarge);
        }
        framing.check(request.version())?;
        Ok(Head { may_name_version })
    }
}

fn names_version(name: &HeaderName, value: &HeaderValue) -> bool {
    if name == header::ACCEPT { version::may_name_version(value) } else { name == API_VERSION }
}
