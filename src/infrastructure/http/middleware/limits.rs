//! Limits of a request. The whole body is read, within limits, before the handler runs. Version 1 discards it.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use http_body_util::BodyExt;

use crate::config::Setting;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::version::Version;
use crate::infrastructure::http::request::head::RequestLimits;
use crate::infrastructure::http::request::version::RequestedVersion;

/// Maximum number of bytes that are read of a body that is too large. Reading on lets the client see the response instead of a
/// broken connection.
const LINGER_BYTES: usize = 32 << 20;

enum BodyRead {
    /// The bytes, if they are kept.
    Complete(Bytes),
    TooLarge,
    Broken,
}

/// Refuses heads that are too large, or whose framing is ambiguous.
pub(crate) async fn bounded_head(
    State(limits): State<Setting<RequestLimits>>,
    request: Request,
    next: Next,
) -> Response {
    match limits.get().check_head(&request) {
        Ok(_) => next.run(request).await,
        Err(error) => error.in_version(RequestedVersion::of(&request).version),
    }
}

/// Reads the body. Version 2 gets it, version 1 gets an empty one.
pub(crate) async fn bounded_body(
    State(limits): State<Setting<RequestLimits>>,
    request: Request,
    next: Next,
) -> Response {
    let limits = limits.get();
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let version = RequestedVersion::of(&request).version;
    let announced = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
    let is_too_large = announced > limits.max_body_bytes;
    if is_too_large && request.headers().contains_key(header::EXPECT) {
        // The client sends the body only after an interim response (RFC 9110, section 10.1.1).
        return ApiError::PayloadTooLarge.in_version(version);
    }
    let (head, body) = request.into_parts();
    let keep_body = version == Version::Two || limits.keep_bodies;
    let read = read_body(body, limits.max_body_bytes, keep_body);
    match tokio::time::timeout(limits.body_timeout, read).await {
        Ok(BodyRead::Complete(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok(BodyRead::TooLarge) => ApiError::PayloadTooLarge.in_version(version),
        Err(_) if is_too_large => ApiError::PayloadTooLarge.in_version(version),
        Ok(BodyRead::Broken) => ApiError::BodyBroken.in_version(version),
        Err(_) => ApiError::BodyTooSlow.in_version(version),
    }
}

async fn read_body(mut body: Body, max_bytes: usize, keep: bool) -> BodyRead {
    let mut kept = BytesMut::new();
    let mut bytes = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return BodyRead::Broken;
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        bytes += data.len();
        if bytes > max_bytes.max(LINGER_BYTES) {
            break;
        }
        if keep && bytes <= max_bytes {
            kept.extend_from_slice(data);
        }
    }
    if bytes > max_bytes { BodyRead::TooLarge } else { BodyRead::Complete(kept.freeze()) }
}
