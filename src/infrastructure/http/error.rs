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
use utoipa::ToSchema;

use super::problem::{self, Details};
use super::version::Version;
use crate::application::checkout::CheckoutRefusal;
use crate::application::ports::{PortError, RefusalReason};

/// Seconds after which a refused client may come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Faults by parameter, or by place in a body (RFC 6901, section 6: `#/items/0/quantity`).
pub(crate) type Faults = BTreeMap<Cow<'static, str>, String>;

/// Why an error was answered, for the log.
#[derive(Clone)]
pub(crate) struct Cause(pub(crate) Arc<dyn Error + Send + Sync>);

/// Everything that is not the answer that was hoped for.
#[derive(Debug)]
pub(crate) enum ApiError {
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
    BodyBroken,
    PreconditionFailed,
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

/// An error of version 1.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Body<'e> {
    /// For people.
    message: &'static str,
    /// For machines; it stays the same.
    code: &'static str,
    /// What is wrong with each parameter that is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = HashMap<String, String>, required = false)]
    errors: Option<&'e Faults>,
    /// The versions that there are, where another one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    supported: Option<[&'static str; 2]>,
}

impl ApiError {
    /// One fault in one parameter.
    pub(crate) fn invalid(
        parameter: impl Into<Cow<'static, str>>,
        fault: impl Into<String>,
    ) -> Self {
        Self::Validation(Faults::from([(parameter.into(), fault.into())]))
    }

    /// Status, code and message.
    pub(crate) fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        (self.status(), self.code(), self.message())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Validation(_)
            | Self::BodyTooSlow
            | Self::BodyBroken
            | Self::SaleIdRequired
            | Self::UserLimitExceeded
            | Self::UnsupportedVersion
            | Self::KeyMissing => StatusCode::BAD_REQUEST,
            Self::ItemNotFound
            | Self::SaleNotFound
            | Self::NoActiveSale
            | Self::CodeNotFound
            | Self::NotPurchased
            | Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::ItemSoldOut
            | Self::SaleSoldOut
            | Self::ItemsAlreadySold
            | Self::PurchaseInProgress
            | Self::CheckoutClosed
            | Self::CheckoutEmpty
            | Self::KeyInUse
            | Self::SaleNotStarted => StatusCode::CONFLICT,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::MediaTypeUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::SaleEnded => StatusCode::GONE,
            Self::Overloaded(_) | Self::Unavailable(_) | Self::TimedOut => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Validation(_) | Self::BodyTooSlow | Self::BodyBroken => "validation_failed",
            Self::PreconditionFailed => "precondition_failed",
            Self::SaleIdRequired => "sale_id_required",
            Self::UserLimitExceeded => "user_limit_exceeded",
            Self::ItemNotFound => "item_not_found",
            Self::SaleNotFound => "sale_not_found",
            Self::NoActiveSale => "no_active_sale",
            Self::CodeNotFound => "code_not_found",
            Self::NotPurchased => "not_purchased",
            Self::RouteNotFound => "route_not_found",
            Self::UnsupportedVersion => "unsupported_version",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PayloadTooLarge => "payload_too_large",
            Self::HeadTooLarge => "head_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::ItemSoldOut => "item_sold_out",
            Self::SaleSoldOut => "sale_sold_out",
            Self::ItemsAlreadySold => "items_already_sold",
            Self::PurchaseInProgress => "purchase_in_progress",
            Self::CheckoutClosed => "checkout_closed",
            Self::CheckoutEmpty => "checkout_empty",
            Self::KeyMissing => "idempotency_key_missing",
            Self::KeyInUse => "idempotency_key_in_use",
            Self::KeyReused => "idempotency_key_reused",
            Self::MediaTypeUnsupported => "unsupported_media_type",
            Self::SaleNotStarted => "sale_not_started",
            Self::SaleEnded => "sale_ended",
            Self::Overloaded(_) => "overloaded",
            Self::Unavailable(_) | Self::TimedOut => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Self::Validation(_) => "the request is not valid",
            Self::BodyTooSlow => "the body did not arrive in time",
            Self::BodyBroken => "the body is not framed as HTTP has it, or broke off",
            Self::PreconditionFailed => {
                "a checkout has no validators, so no condition on one can hold"
            }
            Self::SaleIdRequired => "several sales are open: say which with sale_id",
            Self::UserLimitExceeded => "this would be more than a buyer may have in this sale",
            Self::ItemNotFound => "the sale has no such item",
            Self::SaleNotFound => "there is no such sale",
            Self::NoActiveSale => "no sale is open",
            Self::CodeNotFound => "there is no such code",
            Self::NotPurchased => "this code has not been purchased",
            Self::RouteNotFound => "there is no such path",
            Self::UnsupportedVersion => "there is no such version of this interface",
            Self::MethodNotAllowed => "this path does not take this method",
            Self::PayloadTooLarge => "the body is too large",
            Self::HeadTooLarge => "the headers are too long",
            Self::UriTooLong => "the request line is too long",
            Self::ItemSoldOut => "the item is sold out",
            Self::SaleSoldOut => "the sale is sold out",
            Self::ItemsAlreadySold => "none of the items is left",
            Self::PurchaseInProgress => "this code is being purchased right now: ask again",
            Self::CheckoutClosed => "the checkout has been purchased",
            Self::CheckoutEmpty => "nothing is in the checkout",
            Self::KeyMissing => "this request needs the header Idempotency-Key",
            Self::KeyInUse => "a request with this Idempotency-Key is running: ask again",
            Self::KeyReused => "this Idempotency-Key was used for another request",
            Self::MediaTypeUnsupported => "the body must be application/json, and not packed",
            Self::SaleNotStarted => "the sale has not started",
            Self::SaleEnded => "the sale has ended",
            Self::Overloaded(_) => "too many requests at once: nothing was done, ask again",
            Self::Unavailable(_) | Self::TimedOut => {
                "the service cannot answer right now: ask again, a repeat is safe"
            }
            Self::Internal(_) => "something went wrong on our side",
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
        matches!(self, Self::PayloadTooLarge | Self::BodyTooSlow | Self::BodyBroken)
    }
}

impl ApiError {
    /// The answer, in the words of a version.
    pub(crate) fn in_version(self, version: Version) -> Response {
        match version {
            Version::One => {
                let response = self.body().into_response();
                self.mark(response)
            }
            Version::Two => self.into_problem(Details::default()),
        }
    }

    /// The answer as problem details, with what else there is to say.
    pub(crate) fn into_problem(self, details: Details) -> Response {
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
    pub(crate) fn faults(&self) -> Option<&Faults> {
        if let Self::Validation(faults) = self { Some(faults) } else { None }
    }

    /// The versions that there are, where another one was asked for.
    pub(crate) fn supported(&self) -> Option<[&'static str; 2]> {
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
