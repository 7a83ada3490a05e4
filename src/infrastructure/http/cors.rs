//! Which other origins' pages may read answers (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::version::API_VERSION;
use crate::config::{CorsConfig, Origins};

/// What a page may send.
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
const SENT: [HeaderName; 6] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::IF_NONE_MATCH,
    API_VERSION,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("x-request-id"),
];
/// What a page may read beside the body.
const READ: [HeaderName; 11] = [
    header::CONTENT_LOCATION,
    header::ETAG,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    API_VERSION,
    HeaderName::from_static("deprecation"),
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("server-time"),
    HeaderName::from_static("sunset"),
    HeaderName::from_static("x-request-id"),
];

/// Answers preflights and marks answers; none if no other origin may read anything. Without credentials: the service knows
/// none.
pub(crate) fn cors(config: &CorsConfig) -> Option<CorsLayer> {
    let origins = match &config.origins {
        Origins::None => return None,
        Origins::Any => AllowOrigin::any(),
        // What is in them was checked when the configuration was read.
        Origins::These(these) => {
            AllowOrigin::list(these.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    let layer = CorsLayer::new().allow_origin(origins).allow_methods(METHODS).allow_headers(SENT);
    Some(layer.expose_headers(READ).max_age(config.max_age))
}
