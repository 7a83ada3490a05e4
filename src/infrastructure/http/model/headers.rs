//! Header names that the HTTP library does not define.

use axum::http::HeaderName;

/// The key of an operator or a service.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The requested version, and the version of every response.
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("api-version");
/// What a trace carries with it (W3C Baggage).
pub(crate) const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// The time from which a version is deprecated (RFC 9745).
pub(crate) const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
/// The path that a gateway has removed from the request's.
pub(crate) const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// Identifies a request and its repeats (draft-ietf-httpapi-idempotency-key-header-07).
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `true` on a response that repeats an earlier one.
pub(crate) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The id of the last event that a client has received (HTML, section 9.2.4).
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How much of each rate limit is left (draft-ietf-httpapi-ratelimit-headers-11).
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The rate limits (draft-ietf-httpapi-ratelimit-headers-11).
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The id of the request in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The database's clock at the time of the response. It is not in the body, because it would change the `ETag` of every response.
pub(crate) const SERVER_TIME: HeaderName = HeaderName::from_static("server-time");
/// The MAC of a signed request.
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// The id of the key of a signed request.
pub(crate) const SIGNATURE_KEY: HeaderName = HeaderName::from_static("signature-key");
/// What makes a signed request different from all others.
pub(crate) const SIGNATURE_NONCE: HeaderName = HeaderName::from_static("signature-nonce");
/// When a request was signed, in Unix seconds.
pub(crate) const SIGNATURE_TIMESTAMP: HeaderName = HeaderName::from_static("signature-timestamp");
/// The time from which a version is not served (RFC 8594).
pub(crate) const SUNSET: HeaderName = HeaderName::from_static("sunset");
/// The trace of which a request is part (W3C Trace Context).
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What each system on the way adds to it (W3C Trace Context).
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The addresses that a request came by, as proxies have added them.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
