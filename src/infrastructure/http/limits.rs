//! Bounds of a request. No request needs a body, so what comes is read within bounds and thrown away.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;

use super::error::ApiError;
use super::version::Version;

/// A client that sends too much is read on this far, so that it sees its answer instead of a broken connection.
const LINGER_BYTES: usize = 32 << 20;

/// Longest request target in bytes; above it 414. It holds the longest valid request many times over.
const MAX_URI_BYTES: usize = 16_384;
/// What a header line has beside its name and value: a colon, a space and the line's end.
const HEADER_LINE_BYTES: usize = 4;

/// Bounds of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// Bytes of the request line and headers. The server's own bound is as large as its buffer, which grows in steps.
    pub(crate) max_head_bytes: usize,
    /// Bytes of the body.
    pub(crate) max_body_bytes: usize,
    /// Time until the body must be complete.
    pub(crate) body_timeout: Duration,
}

enum Read {
    Whole,
    TooLarge,
    Broken,
}

impl RequestLimits {
    /// Whether the head is no longer than anything that this service knows.
    pub(super) fn head<B>(self, request: &axum::http::Request<B>) -> Result<(), ApiError> {
        let uri = request.uri();
        let target = uri.path().len() + uri.query().map_or(0, str::len);
        if target > MAX_URI_BYTES {
            return Err(ApiError::UriTooLong);
        }
        let lines = request.headers().iter();
        let headers: usize =
            lines.map(|(name, value)| name.as_str().len() + value.len() + HEADER_LINE_BYTES).sum();
        if target + headers > self.max_head_bytes {
            return Err(ApiError::HeadTooLarge);
        }
        Ok(())
    }
}

/// Refuses heads that are too long.
pub(super) async fn bounded_head(
    State(limits): State<RequestLimits>,
    request: Request,
    next: Next,
) -> Response {
    match limits.head(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.in_version(Version::of(&request)),
    }
}

/// Reads and drops the body before the request goes on without it.
pub(super) async fn bounded_body(
    State(limits): State<RequestLimits>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let version = Version::of(&request);
    let (head, body) = request.into_parts();
    let read =
        tokio::time::timeout(limits.body_timeout, discard(body, limits.max_body_bytes)).await;
    match read {
        Ok(Read::Whole) => next.run(Request::from_parts(head, Body::empty())).await,
        Ok(Read::TooLarge) => ApiError::PayloadTooLarge.in_version(version),
        Ok(Read::Broken) | Err(_) => ApiError::BodyTooSlow.in_version(version),
    }
}

async fn discard(mut body: Body, max_bytes: usize) -> Read {
    let mut bytes = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Read::Broken;
        };
        bytes += frame.data_ref().map_or(0, axum::body::Bytes::len);
        if bytes > max_bytes.max(LINGER_BYTES) {
            break;
        }
    }
    if bytes > max_bytes { Read::TooLarge } else { Read::Whole }
}
