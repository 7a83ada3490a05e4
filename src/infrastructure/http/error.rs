//! The boundary for errors: which error is which status, and what the outside is told. What is inside stays there; the log has
//! it under the request's id.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::{self, Details};
use super::version::Version;
use crate::application::checkout::CheckoutRefusal;
use crate::application::ports::{PortError, RefusalReason};

/// Seconds after which a refused client may come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Faults by parameter, or by place in a body (RFC 6901, section 6: `#/items/0/quantity`).
pub(super) type Faults = BTreeMap<Cow<'static, str>, String>;

/// Why an error was answered, for the log.
#[derive(Clone)]
pub(super) struct Cause(pub(super) Arc<dyn Error + Send + Sync>);

/// Everything that is not the answer that was hoped for.
#[derive(Debug)]
pub(super) enum ApiError {
    Validation(Faults),
    SaleIdRequired,
    UserLimitExceeded,
    ItemNotFound,
    SaleNotFound,
    NoActiveSale,
    CodeNotFound,
    NotPurchased,
    RouteNotFound,
    UnsupportedVersion,
    MethodNotAllowed,
    PayloadTooLarge,
    UriTooLong,
    HeadTooLarge,
    BodyTooSlow,
    ItemSoldOut,
    SaleSoldOut,
    ItemsAlreadySold,
    PurchaseInProgress,
    CheckoutClosed,
    CheckoutEmpty,
    KeyMissing,
    KeyInUse,
    KeyReused,
    MediaTypeUnsupported,
    SaleNotStarted,
    SaleEnded,
    Overloaded(Arc<dyn Error + Send + Sync>),
    Unavailable(Arc<dyn Error + Send + Sync>),
    TimedOut,
    Internal(Arc<dyn Error + Send + Sync>),
}

#[derive(Serialize)]
struct Body<'e> {
    message: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'e Faults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supported: Option<[&'static str; 2]>,
}

impl ApiError {
    /// One fault in one parameter.
    pub(super) fn invalid(
        parameter: impl Into<Cow<'static, str>>,
        fault: impl Into<String>,
    ) -> Self {
        Self::Validation(Faults::from([(parameter.into(), fault.into())]))
    }

    /// Status, code and message.
    pub(super) fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Validation(_) => {
                (S::BAD_REQUEST, "validation_failed", "the request is not valid")
            }
            Self::BodyTooSlow => {
                (S::BAD_REQUEST, "validation_failed", "the body did not arrive in time")
            }
            Self::SaleIdRequired => (
                S::BAD_REQUEST,
                "sale_id_required",
                "several sales are open: say which with sale_id",
            ),
            Self::UserLimitExceeded => (
                S::BAD_REQUEST,
                "user_limit_exceeded",
                "this would be more than a buyer may have in this sale",
            ),
            Self::ItemNotFound => (S::NOT_FOUND, "item_not_found", "the sale has no such item"),
            Self::SaleNotFound => (S::NOT_FOUND, "sale_not_found", "there is no such sale"),
            Self::NoActiveSale => (S::NOT_FOUND, "no_active_sale", "no sale is open"),
            Self::CodeNotFound => (S::NOT_FOUND, "code_not_found", "there is no such code"),
            Self::NotPurchased => {
                (S::NOT_FOUND, "not_purchased", "this code has not been purchased")
            }
            Self::RouteNotFound => (S::NOT_FOUND, "route_not_found", "there is no such path"),
            Self::UnsupportedVersion => (
                S::BAD_REQUEST,
                "unsupported_version",
                "there is no such version of this interface",
            ),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
            }
            Self::PayloadTooLarge => {
                (S::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is too large")
            }
            Self::HeadTooLarge => {
                (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "the headers are too long")
            }
            Self::UriTooLong => (S::URI_TOO_LONG, "uri_too_long", "the request line is too long"),
            Self::ItemSoldOut => (S::CONFLICT, "item_sold_out", "the item is sold out"),
            Self::SaleSoldOut => (S::CONFLICT, "sale_sold_out", "the sale is sold out"),
            Self::ItemsAlreadySold => {
                (S::CONFLICT, "items_already_sold", "none of the items is left")
            }
            Self::PurchaseInProgress => (
                S::CONFLICT,
                "purchase_in_progress",
                "this code is being purchased right now: ask again",
            ),
            Self::CheckoutClosed => {
                (S::CONFLICT, "checkout_closed", "the checkout has been purchased")
            }
            Self::CheckoutEmpty => (S::CONFLICT, "checkout_empty", "nothing is in the checkout"),
            Self::KeyMissing => (
                S::BAD_REQUEST,
                "idempotency_key_missing",
                "this request needs the header Idempotency-Key",
            ),
            Self::KeyInUse => (
                S::CONFLICT,
                "idempotency_key_in_use",
                "a request with this Idempotency-Key is running: ask again",
            ),
            Self::KeyReused => (
                S::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key was used for another request",
            ),
            Self::MediaTypeUnsupported => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be application/json",
            ),
            Self::SaleNotStarted => (S::CONFLICT, "sale_not_started", "the sale has not started"),
            Self::SaleEnded => (S::GONE, "sale_ended", "the sale has ended"),
            Self::Overloaded(_) => (
                S::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many requests at once: nothing was done, ask again",
            ),
            Self::Unavailable(_) | Self::TimedOut => (
                S::SERVICE_UNAVAILABLE,
                "unavailable",
                "the service cannot answer right now: ask again, a repeat is safe",
            ),
            Self::Internal(_) => {
                (S::INTERNAL_SERVER_ERROR, "internal", "something went wrong on our side")
            }
        }
    }

    fn asks_to_retry(&self) -> bool {
        matches!(
            self,
            Self::PurchaseInProgress
                | Self::KeyInUse
                | Self::Overloaded(_)
                | Self::Unavailable(_)
                | Self::TimedOut
        )
    }

    /// The rest of the request would have to be read before the connection could be used again.
    fn ends_the_connection(&self) -> bool {
        matches!(self, Self::PayloadTooLarge | Self::BodyTooSlow)
    }
}

impl ApiError {
    /// The answer, in the words of a version.
    pub(super) fn in_version(self, version: Version) -> Response {
        match version {
            Version::One => {
                let response = self.body().into_response();
                self.mark(response)
            }
            Version::Two => self.as_problem(Details::default()),
        }
    }

    /// The answer as problem details, with what else there is to say.
    pub(super) fn as_problem(self, details: Details) -> Response {
        let response = problem::response(&self, details);
        self.mark(response)
    }

    fn mark(self, mut response: Response) -> Response {
        let (asks_to_retry, ends) = (self.asks_to_retry(), self.ends_the_connection());
        let cause = match self {
            Self::Overloaded(cause) | Self::Unavailable(cause) | Self::Internal(cause) => {
                Some(cause)
            }
            _ => None,
        };
        if asks_to_retry {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if ends {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(cause) = cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }

    fn body(&self) -> (StatusCode, Json<Body<'_>>) {
        let (status, code, message) = self.parts();
        let errors = self.faults();
        let supported = self.supported();
        (status, Json(Body { message, code, errors, supported }))
    }

    /// The parameters that are not valid, with what is wrong with each.
    pub(super) fn faults(&self) -> Option<&Faults> {
        if let Self::Validation(faults) = self { Some(faults) } else { None }
    }

    /// The versions that there are, where another one was asked for.
    pub(super) fn supported(&self) -> Option<[&'static str; 2]> {
        matches!(self, Self::UnsupportedVersion).then_some(Version::NAMES)
    }
}

/// In the words of version 1.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.in_version(Version::One)
    }
}

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        let cause: fn(Arc<PortError>) -> Self = match &error {
            PortError::Unavailable { .. } => |error| Self::Unavailable(error),
            PortError::Overloaded(_) => |error| Self::Overloaded(error),
            PortError::Broken { .. } => |error| Self::Internal(error),
        };
        cause(Arc::new(error))
    }
}

impl From<CheckoutRefusal> for ApiError {
    fn from(why: CheckoutRefusal) -> Self {
        match why {
            CheckoutRefusal::BySale { reason, .. } => reason.into(),
            CheckoutRefusal::QuantityBeyondLimit(_) => Self::UserLimitExceeded,
            CheckoutRefusal::SaleNotFound => Self::SaleNotFound,
            CheckoutRefusal::NoActiveSale => Self::NoActiveSale,
            CheckoutRefusal::SaleIdRequired => Self::SaleIdRequired,
            CheckoutRefusal::KeyUsed => Self::KeyInUse,
        }
    }
}

impl From<RefusalReason> for ApiError {
    fn from(reason: RefusalReason) -> Self {
        match reason {
            RefusalReason::ItemSoldOut => Self::ItemSoldOut,
            RefusalReason::SaleSoldOut => Self::SaleSoldOut,
            RefusalReason::ItemNotFound => Self::ItemNotFound,
            RefusalReason::BuyerLimit => Self::UserLimitExceeded,
            RefusalReason::NotStarted => Self::SaleNotStarted,
            RefusalReason::Ended => Self::SaleEnded,
            RefusalReason::InProgress => Self::PurchaseInProgress,
            RefusalReason::Closed => Self::CheckoutClosed,
            RefusalReason::Empty => Self::CheckoutEmpty,
            RefusalReason::Unavailable => Self::TimedOut,
        }
    }
}
