//! Responses whose JSON is written by hand.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

/// A 200 with this JSON.
pub(crate) fn json_response(json: String) -> Response {
    let mut response = Response::new(Body::from(json));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
