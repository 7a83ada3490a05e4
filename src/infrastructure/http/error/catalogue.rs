//! The catalogue of errors: each has a status, a code, a message and a page. A new error is one entry here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use axum::http::StatusCode;

use super::challenge::{Challenge, RateLimited};
use crate::application::refusal_facts::{LimitFacts, StartFacts};

/// Errors by parameter, or by JSON Pointer into the body (RFC 6901, section 6: `#/items/0/quantity`).
pub(crate) type ValidationErrors = BTreeMap<Cow<'static, str>, String>;
/// The cause of an error, for the log.
pub(crate) type Source = Arc<dyn Error + Send + Sync>;

/// The public description of an error.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) status: StatusCode,
    /// For programs: it does not change, and several errors may share it.
    pub(crate) code: &'static str,
    /// For people: version 1's `message`, version 2's `title`.
    pub(crate) message: &'static str,
    /// The page of the code. Of errors that share a code, one has it.
    pub(crate) page: Option<Page>,
    /// Whether a repeat may succeed soon: the response has `Retry-After`.
    pub(crate) retry: bool,
    /// Whether the connection is closed, because the rest of the request was not read.
    pub(crate) close: bool,
}

/// The texts of a page about a problem.
#[derive(Debug)]
pub(crate) struct Page {
    /// What happened.
    pub(crate) meaning: &'static str,
    /// What the client can do.
    pub(crate) remedy: &'static str,
}

impl Entry {
    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, page: None, retry: false, close: false }
    }

    const fn page(self, meaning: &'static str, remedy: &'static str) -> Self {
        Self { page: Some(Page { meaning, remedy }), ..self }
    }

    const fn retry(self) -> Self {
        Self { retry: true, ..self }
    }

    const fn close(self) -> Self {
        Self { close: true, ..self }
    }
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident $(($payload:ty))? = $entry:expr,)+) => {
        /// An error response.
        #[derive(Debug)]
        pub(crate) enum ApiError {
            $($(#[$doc])* $variant $(($payload))?,)+
        }

        /// All entries.
        static ENTRIES: &[&Entry] = &[$({
            const ENTRY: Entry = $entry;
            &ENTRY
        }),+];

        impl ApiError {
            /// The public description.
            pub(crate) fn entry(&self) -> &'static Entry {
                match self {
                    $(Self::$variant { .. } => {
                        const ENTRY: Entry = $entry;
                        &ENTRY
                    })+
                }
            }
        }
    };
}

catalogue! {
    /// Parameters, headers or members of the body are missing, repeated or invalid.
    Validation(ValidationErrors) = Entry::new(StatusCode::BAD_REQUEST, "validation_failed", "the request is not valid")
        .page(
            "A parameter, a header or a member of the body is missing, repeated or invalid, or the body \
             did not arrive in time. The member `errors` names every invalid value.",
            "Correct these values. The same request fails again.",
        ),
    /// Several sales are open, and the request names none.
    SaleIdRequired = Entry::new(StatusCode::BAD_REQUEST, "sale_id_required", "several sales are open: name one with sale_id")
        .page(
            "Several sales are open, and the request does not name one.",
            "Send `sale_id`.",
        ),
    /// More pieces than the sale allows one buyer.
    UserLimitExceeded(Option<LimitFacts>) = Entry::new(StatusCode::BAD_REQUEST, "user_limit_exceeded", "the buyer would exceed the limit of this sale")
        .page(
            "The buyer would have more pieces than the sale allows one buyer, counting bought and collected \
             pieces. The members `limit`, `bought` and `collected` are the limit and the pieces before the \
             request.",
            "Collect fewer pieces.",
        ),
    /// The sale has no such item.
    ItemNotFound = Entry::new(StatusCode::NOT_FOUND, "item_not_found", "the sale has no such item")
        .page(
            "The sale has no item with this id.",
            "Read the sale's items.",
        ),
    /// No sale has this id.
    SaleNotFound = Entry::new(StatusCode::NOT_FOUND, "sale_not_found", "there is no such sale")
        .page(
            "There is no sale with this id.",
            "Read the open sales.",
        ),
    /// No sale is open, and the request names none.
    NoActiveSale = Entry::new(StatusCode::NOT_FOUND, "no_active_sale", "no sale is open")
        .page(
            "No sale is open, and the request names none.",
            "Wait for the next sale.",
        ),
    /// The code is forged, mistyped or malformed.
    CodeNotFound = Entry::new(StatusCode::NOT_FOUND, "code_not_found", "there is no such code")
        .page(
            "The code was mistyped, cut off or forged: this service never issued it.",
            "Use the code exactly as the checkout returned it.",
        ),
    /// The code is genuine and has no stored outcome.
    NotPurchased = Entry::new(StatusCode::NOT_FOUND, "not_purchased", "this code has not been purchased")
        .page(
            "The code has not been purchased yet.",
            "Purchase first.",
        ),
    /// Nothing says credibly who sends the request.
    Unauthorized(Challenge) = Entry::new(StatusCode::UNAUTHORIZED, "unauthorized", "the request needs valid credentials")
        .page(
            "Nothing in the request says credibly who sends it: a token, a key or a signature is missing, is not valid, or \
             has expired or been revoked. The header `WWW-Authenticate` names what is needed; the member `error` of \
             version 1, `detail` of version 2, says what is wrong.",
            "Log the buyer in, and send `Authorization: Bearer …` with the new token. Operators and services send their \
             API key in the header `X-Api-Key`.",
        ),
    /// It belongs to another buyer.
    NotYourCheckout = Entry::new(StatusCode::FORBIDDEN, "not_your_checkout", "this belongs to another buyer")
        .page(
            "The buyer, the checkout or the purchase that the request names is not that of its token. Nothing was done.",
            "Leave `user_id` and `buyer_id` out, and use codes only with the token of the buyer who got them.",
        ),
    /// A rate limit is reached.
    RateLimited(RateLimited) = Entry::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests: nothing was done, repeat the request later")
        .page(
            "The buyer, the address or the API key has sent more requests than its limit allows. Nothing was done. The \
             headers `RateLimit-Policy` and `RateLimit` name the limits, and what is left of them.",
            "Wait for the number of seconds in `Retry-After`, then send the request again.",
        ),
    /// No route has this path.
    RouteNotFound = Entry::new(StatusCode::NOT_FOUND, "route_not_found", "there is no such path")
        .page(
            "No route has this path.",
            "Compare it with the documentation.",
        ),
    /// The request names a version that does not exist.
    UnsupportedVersion = Entry::new(StatusCode::BAD_REQUEST, "unsupported_version", "there is no such version of this API")
        .page(
            "The path, the header `Api-Version` or the header `Accept` names a version of the API that does \
             not exist.",
            "Request one of the versions in the member `supported`.",
        ),
    /// The route does not support this method.
    MethodNotAllowed = Entry::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not support this method")
        .page(
            "The path exists, but does not support this method.",
            "Use one of the methods in the header `Allow`.",
        ),
    /// The body is larger than `http.max_body_bytes`.
    PayloadTooLarge = Entry::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is too large")
        .page(
            "The body is larger than this service accepts.",
            "Send a smaller body.",
        )
        .close(),
    /// The request target is too long.
    UriTooLong = Entry::new(StatusCode::URI_TOO_LONG, "uri_too_long", "the path and the query are too long")
        .page(
            "The path and the query are longer than any valid request.",
            "Shorten the path and the query.",
        ),
    /// The head is larger than `http.max_head_bytes`.
    HeadTooLarge = Entry::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "the headers are too large")
        .page(
            "The headers are larger than this service accepts.",
            "Send fewer or shorter headers.",
        ),
    /// The body did not arrive within `http.body_read_timeout`.
    BodyTooSlow = Entry::new(StatusCode::BAD_REQUEST, "validation_failed", "the body did not arrive in time")
        .close(),
    /// The body ended early, or its framing is invalid.
    BodyBroken = Entry::new(StatusCode::BAD_REQUEST, "validation_failed", "the body is incomplete, or its framing is invalid")
        .close(),
    /// A condition of the request does not hold.
    PreconditionFailed = Entry::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "the checkout is not the one that If-Match names")
        .page(
            "The checkout has changed since the response whose ETag the request has in If-Match, or the \
             request has a condition that cannot hold. Nothing was done.",
            "Read the checkout again, show it to the buyer, and send the request with its ETag.",
        ),
    /// The checkout has other items than the request expects.
    CheckoutChanged = Entry::new(StatusCode::CONFLICT, "checkout_changed", "the checkout has other items than expected: nothing was bought")
        .page(
            "The checkout has other items or quantities than the member `expected`: it was changed \
             elsewhere. Nothing was bought, and nothing is stored.",
            "Read the checkout again, show it to the buyer, and purchase with what it has now.",
        ),
    /// Not every item is left, and the request wants all or nothing.
    ItemsUnavailable = Entry::new(StatusCode::CONFLICT, "items_unavailable", "not every item can be bought: nothing was bought")
        .page(
            "The request has `all_or_nothing`, and the items in the member `items` cannot be bought. \
             Nothing was bought, and nothing is stored.",
            "Remove these items from the checkout, or purchase without `all_or_nothing`.",
        ),
    /// The item has no piece left.
    ItemSoldOut = Entry::new(StatusCode::CONFLICT, "item_sold_out", "the item is sold out")
        .page(
            "All pieces of the item are sold. It is available again if the shop restocks.",
            "Choose another item.",
        ),
    /// No item of the sale has a piece left.
    SaleSoldOut = Entry::new(StatusCode::CONFLICT, "sale_sold_out", "the sale is sold out")
        .page(
            "All pieces of all items are sold.",
            "Wait for the next sale.",
        ),
    /// The stored outcome of a purchase whose items were sold out.
    ItemsAlreadySold = Entry::new(StatusCode::CONFLICT, "items_already_sold", "none of the items is left")
        .page(
            "None of the items in the checkout is left. This outcome is stored, and every repeat returns \
             it.",
            "Collect other items, which opens a new checkout with a new code.",
        ),
    /// Another request is purchasing the same code.
    PurchaseInProgress = Entry::new(StatusCode::CONFLICT, "purchase_in_progress", "this code is being purchased right now: repeat the request")
        .page(
            "Another request is purchasing the same code right now.",
            "Repeat after the number of seconds in `Retry-After`, to get the response of the other request.",
        )
        .retry(),
    /// The checkout has been purchased.
    CheckoutClosed = Entry::new(StatusCode::CONFLICT, "checkout_closed", "the checkout has been purchased")
        .page(
            "The checkout behind the code has been purchased, so it cannot be changed.",
            "Collect again, which opens a new checkout with a new code.",
        ),
    /// The checkout has no lines.
    CheckoutEmpty = Entry::new(StatusCode::CONFLICT, "checkout_empty", "the checkout is empty")
        .page(
            "The checkout has no items, so there is nothing to buy. This outcome is not stored.",
            "Collect an item, then purchase with the same code.",
        ),
    /// The route needs an idempotency key.
    KeyMissing = Entry::new(StatusCode::BAD_REQUEST, "idempotency_key_missing", "this request needs the header Idempotency-Key")
        .page(
            "The request lacks the header `Idempotency-Key`, with which a repeat takes effect once.",
            "Generate a new key for every new request, such as a UUID, and send the same key with a \
             repeat.",
        ),
    /// Another request with the same idempotency key is running.
    KeyInUse = Entry::new(StatusCode::CONFLICT, "idempotency_key_in_use", "a request with this Idempotency-Key is running: repeat the request")
        .page(
            "Another request with the same key is running right now.",
            "Repeat after the number of seconds in `Retry-After`, to get the response of the other request.",
        )
        .retry(),
    /// The idempotency key belongs to a request with other content.
    KeyReused = Entry::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "this Idempotency-Key was used for another request")
        .page(
            "The key has been used for a request with other content. Nothing was done.",
            "Generate a new key for every new request. Keys are kept for a day.",
        ),
    /// The body is not JSON, or is compressed.
    MediaTypeUnsupported = Entry::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "the body must be application/json, and not compressed")
        .page(
            "The `Content-Type` of the body is not JSON, or the body is compressed.",
            "Send plain JSON with the header `Content-Type: application/json`.",
        ),
    /// The key is valid and does not have the scope.
    Forbidden = Entry::new(StatusCode::FORBIDDEN, "forbidden", "the key does not have the scope for this request")
        .page(
            "The key is valid, and may not do this: an operator's reads need the scope `read`, changes the scope \
             `operate`, and buying for buyers the scope `sell`. Nothing was done.",
            "Use a key with this scope.",
        ),
    /// An operator's change is not possible in the present state.
    ChangeRefused = Entry::new(StatusCode::CONFLICT, "change_refused", "the change is not possible now: nothing has changed")
        .page(
            "An operator's change does not fit the present state, for example because the sale has ended. The \
             member `detail` says why. Nothing has changed.",
            "Read the present state, and ask for a change that fits it.",
        ),
    /// Nothing was imported, because of what was rejected.
    ImportRejected = Entry::new(StatusCode::UNPROCESSABLE_ENTITY, "import_rejected", "nothing was imported")
        .page(
            "The import has rows that are not valid, in the member `rejected` with the number of the line, the \
             field and the reason; or `detail` says what is wrong with the whole. Nothing was imported.",
            "Correct the rows, or import the others with `partial=true`.",
        ),
    /// No job has this number.
    JobNotFound = Entry::new(StatusCode::NOT_FOUND, "job_not_found", "there is no such job")
        .page(
            "There is no job with this number. Jobs that are done or dead are deleted after a while.",
            "Read the list of jobs.",
        ),
    /// No schedule has this name.
    ScheduleNotFound = Entry::new(StatusCode::NOT_FOUND, "schedule_not_found", "there is no such schedule")
        .page(
            "There is no schedule with this name.",
            "Read the list of schedules.",
        ),
    /// No webhook has this id.
    WebhookNotFound = Entry::new(StatusCode::NOT_FOUND, "webhook_not_found", "there is no such webhook")
        .page(
            "There is no webhook with this id.",
            "Read the list of webhooks.",
        ),
    /// No API key has this id.
    ApiKeyNotFound = Entry::new(StatusCode::NOT_FOUND, "key_not_found", "there is no such API key")
        .page(
            "There is no API key with this id.",
            "Read the list of keys.",
        ),
    /// The change was made, and the instance died before it stored the answer.
    AnswerLost = Entry::new(StatusCode::CONFLICT, "answer_lost", "the change was made, and its answer was lost")
        .page(
            "The request with this Idempotency-Key has changed something, and the instance that executed it \
             ended before its answer was stored. It is not executed again.",
            "Read the audit and the present state.",
        ),
    /// The sale has not started.
    SaleNotStarted(Option<StartFacts>) = Entry::new(StatusCode::CONFLICT, "sale_not_started", "the sale has not started")
        .page(
            "The sale starts at the time in the member `starts_at`.",
            "Show the start, and send the request again after the number of seconds in Retry-After: that is \
             the start, by the clock of the service (Server-Time) and not of the client.",
        ),
    /// The sale was archived, and its record is gone.
    SaleArchived = Entry::new(StatusCode::GONE, "sale_archived", "the sale was archived")
        .page(
            "The sale ended long ago, and its record is no longer kept: neither its items, nor its checkouts, nor what its \
             codes bought.",
            "Keep what you need of a sale while it is there. The same request fails again.",
        ),
    /// The sale has ended.
    SaleEnded = Entry::new(StatusCode::GONE, "sale_ended", "the sale has ended")
        .page(
            "The sale ended before the request was executed. Nothing was bought.",
            "Wait for the next sale.",
        ),
    /// A queue is full, or its wait would be too long: nothing was done.
    Overloaded(Source) = Entry::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many requests at once: nothing was done, repeat the request")
        .page(
            "More requests arrived at once than can be served in time. Nothing was done.",
            "Repeat after the number of seconds in `Retry-After`.",
        )
        .retry(),
    /// A dependency is unavailable.
    Unavailable(Source) = Entry::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the service is unavailable: repeat the request, which is safe")
        .page(
            "The service is unavailable at the moment. It may not be known yet whether the request was \
             executed.",
            "Repeat after the number of seconds in `Retry-After`. A repeat is always safe.",
        )
        .retry(),
    /// The request timeout has passed. The work continues.
    TimedOut = Entry::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the service is unavailable: repeat the request, which is safe")
        .retry(),
    /// A defect of the service.
    Internal(Source) = Entry::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
        .page(
            "A defect of the service.",
            "Repeat the request. If the error persists, report the response's `X-Request-Id` to the operator.",
        ),
}

impl ApiError {
    /// What else there is to say of this one.
    pub(super) fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorized(challenge) => challenge.detail,
            Self::RateLimited(limited) => Some(limited.detail()),
            _ => None,
        }
    }

    /// The error of one parameter, or of one value in the body.
    pub(crate) fn invalid(
        parameter: impl Into<Cow<'static, str>>,
        error: impl Into<String>,
    ) -> Self {
        Self::Validation(ValidationErrors::from([(parameter.into(), error.into())]))
    }
}

/// The entries with a page: one for each code.
pub(crate) fn with_page() -> impl Iterator<Item = (&'static Entry, &'static Page)> {
    ENTRIES.iter().filter_map(|entry| Some((*entry, entry.page.as_ref()?)))
}

impl From<Challenge> for ApiError {
    fn from(challenge: Challenge) -> Self {
        Self::Unauthorized(challenge)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_one_page_and_one_status() {
        let codes: BTreeSet<_> = ENTRIES.iter().map(|entry| (entry.code, entry.status)).collect();
        let pages: Vec<_> = with_page().map(|(entry, _)| (entry.code, entry.status)).collect();

        assert_eq!(codes.len(), pages.len());
        assert_eq!(codes, pages.into_iter().collect());
    }
}
