//! Bodies: no request needs one, so what comes is read within bounds and thrown away.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use super::error::ApiError;

/// A client that sends too much is read on this far, so that it sees its answer instead of a broken connection.
const LINGER_BYTES: usize = 32 << 20;

/// Bounds of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Bytes.
    pub(crate) max_bytes: usize,
    /// Time until it must be complete.
    pub(crate) timeout: Duration,
}

enum Read {
    Whole,
    TooLarge,
    Broken,
}

/// Reads and drops the body before the request goes on without it.
pub(super) async fn bounded(
    State(limits): State<BodyLimits>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(limits.timeout, discard(body, limits.max_bytes)).await;
    match read {
        Ok(Read::Whole) => next.run(Request::from_parts(head, Body::empty())).await,
        Ok(Read::TooLarge) => ApiError::PayloadTooLarge.into_response(),
        Ok(Read::Broken) | Err(_) => ApiError::BodyTooSlow.into_response(),
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
