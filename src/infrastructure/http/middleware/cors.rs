//! CORS: the origins whose pages may read responses (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::{CorsConfig, Origins};
use crate::infrastructure::http::model::headers::{
    API_VERSION, BAGGAGE, DEPRECATION, IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, LAST_EVENT_ID,
    RATE_LIMIT, RATE_LIMIT_POLICY, REQUEST_ID, SERVER_TIME, SUNSET, TRACEPARENT, TRACESTATE,
};

/// Methods that a page may use.
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
/// Headers that a page may send. A page that is logged in, or traced, sends its headers with every request, whether or not this
/// service reads them: without them here it could not buy.
const REQUEST_HEADERS: [HeaderName; 12] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    API_VERSION,
    BAGGAGE,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    REQUEST_ID,
    TRACEPARENT,
    TRACESTATE,
];
/// Headers that a page may read.
const RESPONSE_HEADERS: [HeaderName; 14] = [
    header::CONTENT_LOCATION,
    header::ETAG,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    API_VERSION,
    DEPRECATION,
    IDEMPOTENT_REPLAYED,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    SERVER_TIME,
    SUNSET,
    REQUEST_ID,
];

/// Responds to preflights and adds the headers; `None` if no other origin may read responses. Credentials are not allowed, because
/// the service has no cookies.
pub(crate) fn cors(config: &CorsConfig) -> Option<CorsLayer> {
    let origins = match &config.origins {
        Origins::None => return None,
        Origins::Any => AllowOrigin::any(),
        // The configuration has validated them.
        Origins::These(origins) => AllowOrigin::list(
            origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()),
        ),
    };
    let further = config.headers.iter().filter_map(|name| HeaderName::try_from(name).ok());
    let headers: Vec<HeaderName> = REQUEST_HEADERS.into_iter().chain(further).collect();
    let layer =
        CorsLayer::new().allow_origin(origins).allow_methods(METHODS).allow_headers(headers);
    Some(layer.expose_headers(RESPONSE_HEADERS).max_age(config.max_age))
}
