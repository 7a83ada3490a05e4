//! Refuses requests for versions that do not exist.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::version::Version;
use crate::infrastructure::http::request::version::UnknownVersion;

/// Refuses a request for an unknown version. It runs inside the limits of head and body, which apply to such a request too.
pub(crate) async fn refuse_unknown(request: Request, next: Next) -> Response {
    let error = match request.extensions().get() {
        None => return next.run(request).await,
        Some(UnknownVersion::Unsupported) => ApiError::UnsupportedVersion,
        Some(UnknownVersion::Repeated) => ApiError::invalid("Api-Version", "must be given once"),
    };
    error.in_version(Version::default())
}
