//! Parameters that several operations share.

use utoipa::IntoParams;

use crate::infrastructure::http::model::schema;

/// The key of a request that must have one.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents a parameter")]
pub(crate) struct IdempotencyKeyHeader {
    /// Identifies the request: a repeat with the same key takes effect once.
    #[param(rename = "Idempotency-Key")]
    idempotency_key: schema::IdempotencyKey,
}

/// The key of a request that may have one.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents a parameter")]
pub(crate) struct OptionalIdempotencyKeyHeader {
    /// Identifies the request: a repeat with the same key takes effect once.
    // In a header, utoipa makes an `Option` a value that may be null, which no header is.
    #[param(rename = "Idempotency-Key", required = false)]
    idempotency_key: schema::IdempotencyKey,
}

/// The condition of a read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents a parameter")]
pub(crate) struct IfNoneMatchHeader {
    /// The `ETag` of an earlier response. If the response is still the same, the service returns 304 without a body.
    #[param(rename = "If-None-Match", required = false)]
    if_none_match: schema::EntityTags,
}

/// Where a client continues a stream of events.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents a parameter")]
pub(crate) struct LastEventIdHeader {
    /// The `id` of the last event that the client has received. The service sends the newest state, unless the client has it.
    #[param(rename = "Last-Event-ID", required = false)]
    last_event_id: schema::EventId,
}

/// The condition of a write to a checkout.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents a parameter")]
pub(crate) struct IfMatchHeader {
    /// The `ETag` of the checkout as the client has seen it. If the checkout has changed since, the service does nothing and returns
    /// 412 `precondition_failed`.
    #[param(rename = "If-Match", required = false)]
    if_match: schema::EntityTags,
}

/// One page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents parameters")]
pub(crate) struct PageParams {
    /// The page number. Default: 1. A page past the end is empty.
    page: Option<schema::PageNumber>,
    /// Maximum number of entries in a page.
    limit: Option<schema::Limit>,
}

/// The continuation of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents parameters")]
pub(crate) struct CursorParams {
    /// Continues the list after the response that returned this cursor.
    cursor: Option<schema::Cursor>,
    /// Maximum number of entries in the response.
    limit: Option<schema::Limit>,
}

/// One page of a list, or its continuation.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents parameters")]
pub(crate) struct PageOrCursorParams {
    /// The page number, for lists whose length the client needs. It cannot be combined with `cursor`. Without it, the response has a
    /// cursor.
    page: Option<schema::PageNumber>,
    /// Continues the list after the response that returned this cursor.
    cursor: Option<schema::Cursor>,
    /// Maximum number of entries in the response.
    limit: Option<schema::Limit>,
}
