//! Bounds of a request. A body is read whole, within bounds, before anything is done; version 1 has no use for it.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use http_body_util::BodyExt;

use super::error::ApiError;
use super::framing::Framing;
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
    /// With what is kept of it.
    Whole(Bytes),
    TooLarge,
    Broken,
}

impl RequestLimits {
    /// Whether the head is no longer than anything that this service knows, and can be read in one way.
    pub(crate) fn head<B>(self, request: &axum::http::Request<B>) -> Result<Framing, ApiError> {
        let uri = request.uri();
        let target = uri.path().len() + uri.query().map_or(0, |query| 1 + query.len());
        if target > MAX_URI_BYTES {
            return Err(ApiError::UriTooLong);
        }
        let (mut headers, mut framing) = (0, Framing::default());
        for (name, value) in request.headers() {
            headers += name.as_str().len() + value.len() + HEADER_LINE_BYTES;
            framing.note(name, value);
        }
        if target + headers > self.max_head_bytes {
            return Err(ApiError::HeadTooLarge);
        }
        framing.is_sound(request.version())?;
        Ok(framing)
    }
}

/// Refuses heads that are too long, or could mean two things.
pub(crate) async fn bounded_head(
    State(limits): State<RequestLimits>,
    request: Request,
    next: Next,
) -> Response {
    match limits.head(&request) {
        Ok(_) => next.run(request).await,
        Err(error) => error.in_version(Version::of(&request)),
    }
}

/// Reads the body before the request goes on, in version 1 without it.
pub(crate) async fn bounded_body(
    State(limits): State<RequestLimits>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let version = Version::of(&request);
    let said = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
    let is_too_large = said > limits.max_body_bytes;
    if is_too_large && request.headers().contains_key(header::EXPECT) {
        // It waits for a word before it sends any of it (RFC 9110, section 10.1.1).
        return ApiError::PayloadTooLarge.in_version(version);
    }
    let (head, body) = request.into_parts();
    let keeps = version == Version::Two;
    let read = read_body(body, limits.max_body_bytes, keeps);
    match tokio::time::timeout(limits.body_timeout, read).await {
        Ok(Read::Whole(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok(Read::TooLarge) => ApiError::PayloadTooLarge.in_version(version),
        Err(_) if is_too_large => ApiError::PayloadTooLarge.in_version(version),
        Ok(Read::Broken) => ApiError::BodyBroken.in_version(version),
        Err(_) => ApiError::BodyTooSlow.in_version(version),
    }
}

async fn read_body(mut body: Body, max_bytes: usize, keeps: bool) -> Read {
    let mut kept = BytesMut::new();
    let mut bytes = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Read::Broken;
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        bytes += data.len();
        if bytes > max_bytes.max(LINGER_BYTES) {
            break;
        }
        if keeps && bytes <= max_bytes {
            kept.extend_from_slice(data);
        }
    }
    if bytes > max_bytes { Read::TooLarge } else { Read::Whole(kept.freeze()) }
}
