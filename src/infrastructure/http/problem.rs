//! Errors as version 2 tells them: problem details (RFC 9457), and the page behind each type's link.

use std::borrow::Cow;
use std::fmt::Write;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::protection;
use super::v2::Purchase;

/// `application/problem+json`
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Where the pages are; a type's link is the code behind it.
pub(crate) const PAGES: &str = "/problems/";

/// Problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem<'e> {
    /// Link to a page about this kind of problem; it stays the same.
    #[schema(format = "uri-reference")]
    r#type: String,
    /// For people.
    title: &'static str,
    status: u16,
    /// The last part of `type`.
    code: &'static str,
    /// Everything that is wrong with a request that is not valid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<Fault<'e>>,
    /// The versions that there are, where another one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    supported: Option<[&'static str; 2]>,
    #[serde(flatten)]
    details: Details,
}

/// What a problem says besides, where there is something to say.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Details {
    /// Ids of the items that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) items: Vec<String>,
    /// The purchase, which is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Purchase, required = false)]
    pub(crate) purchase: Option<Box<Purchase>>,
}

/// A parameter or a place in the body, and what is wrong with it.
#[derive(Serialize, ToSchema)]
struct Fault<'e> {
    /// A parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    parameter: Option<&'e str>,
    /// A place in the body (RFC 6901, section 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pointer: Option<&'e str>,
    detail: &'e str,
}

impl<'e> Fault<'e> {
    fn of((place, detail): (&'e Cow<'static, str>, &'e String)) -> Self {
        let (parameter, pointer) =
            if place.starts_with('#') { (None, Some(&**place)) } else { (Some(&**place), None) };
        Self { parameter, pointer, detail }
    }
}

/// An error's answer.
pub(crate) fn response(error: &ApiError, details: Details) -> Response {
    let (status, code, title) = error.parts();
    let problem = Problem {
        r#type: format!("{PAGES}{code}"),
        title,
        status: status.as_u16(),
        code,
        errors: error.faults().into_iter().flatten().map(Fault::of).collect(),
        supported: error.supported(),
        details,
    };
    let mut response = (status, Json(problem)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
    response
}

/// What a type's page says.
struct Page {
    code: &'static str,
    status: StatusCode,
    /// What happened.
    means: &'static str,
    /// What a client does about it.
    remedy: &'static str,
}

const fn page(
    code: &'static str,
    status: StatusCode,
    means: &'static str,
    remedy: &'static str,
) -> Page {
    Page { code, status, means, remedy }
}

/// Every code that an error may have.
const ALL: [Page; 29] = {
    use StatusCode as S;
    [
        page(
            "validation_failed",
            S::BAD_REQUEST,
            "A parameter is missing, given twice or not valid, or the body did not arrive in time. \
             The member errors names every parameter that is at fault.",
            "Correct what it names. The same request fails again.",
        ),
        page(
            "sale_id_required",
            S::BAD_REQUEST,
            "Several sales are open at the moment, and the request does not say which one it means.",
            "Name the sale.",
        ),
        page(
            "user_limit_exceeded",
            S::BAD_REQUEST,
            "With this the buyer would have more pieces than the sale allows one buyer, bought and collected together.",
            "Collect fewer pieces.",
        ),
        page(
            "unsupported_version",
            S::BAD_REQUEST,
            "The path, the header Api-Version or Accept names a version of the interface that does not exist.",
            "Ask for one of those in the member supported.",
        ),
        page(
            "idempotency_key_missing",
            S::BAD_REQUEST,
            "The request changes something, and lacks the header that keeps a repeat from changing it again.",
            "Make up a new key for every new request, such as a UUID, and send the same one when you repeat it.",
        ),
        page(
            "item_not_found",
            S::NOT_FOUND,
            "The sale has no item with this id.",
            "Read the sale's items.",
        ),
        page(
            "sale_not_found",
            S::NOT_FOUND,
            "There is no sale with this id.",
            "Read the sales that are open.",
        ),
        page(
            "no_active_sale",
            S::NOT_FOUND,
            "No sale is open, and the request names none.",
            "Wait for the next sale.",
        ),
        page(
            "code_not_found",
            S::NOT_FOUND,
            "The code was mistyped, cut off or made up: this service never gave it to anybody.",
            "Use the code exactly as the checkout answered it.",
        ),
        page(
            "not_purchased",
            S::NOT_FOUND,
            "Nobody has purchased with this code so far.",
            "Purchase first.",
        ),
        page(
            "route_not_found",
            S::NOT_FOUND,
            "There is nothing at this path.",
            "Compare it with the documentation.",
        ),
        page(
            "method_not_allowed",
            S::METHOD_NOT_ALLOWED,
            "The path exists, and takes other methods than this one.",
            "The header Allow names those that it takes.",
        ),
        page(
            "payload_too_large",
            S::PAYLOAD_TOO_LARGE,
            "The body is larger than this service reads.",
            "Send less.",
        ),
        page(
            "uri_too_long",
            S::URI_TOO_LONG,
            "The path and the query are longer than anything that means something here.",
            "Send less.",
        ),
        page(
            "head_too_large",
            S::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The headers are longer than this service reads.",
            "Send fewer or shorter headers.",
        ),
        page(
            "item_sold_out",
            S::CONFLICT,
            "Every piece of the item is sold. It may be for sale again, if more pieces come in.",
            "Choose another item.",
        ),
        page(
            "sale_sold_out",
            S::CONFLICT,
            "Every piece of every item is sold.",
            "Wait for the next sale.",
        ),
        page(
            "items_already_sold",
            S::CONFLICT,
            "None of the items in the checkout is left. This is what the purchase came to, and every repeat is told the same.",
            "Collect other items: that opens a new checkout with a new code.",
        ),
        page(
            "purchase_in_progress",
            S::CONFLICT,
            "The same code is being purchased right now, by another request.",
            "Ask again after the seconds in Retry-After: the answer will be the one that the other request gets.",
        ),
        page(
            "checkout_closed",
            S::CONFLICT,
            "The checkout behind the code has been purchased, so nothing can be changed in it.",
            "Collect again: that opens a new checkout with a new code.",
        ),
        page(
            "checkout_empty",
            S::CONFLICT,
            "Everything was taken out of the checkout, so there is nothing to buy. This is not stored.",
            "Collect something, then purchase with the same code.",
        ),
        page(
            "idempotency_key_in_use",
            S::CONFLICT,
            "A request with the same key is running right now.",
            "Ask again after the seconds in Retry-After: the answer will be the one that the other request gets.",
        ),
        page(
            "idempotency_key_reused",
            S::UNPROCESSABLE_ENTITY,
            "The key was used before, for a request with another content. Nothing was done.",
            "Make up a new key for every new request. Keys are kept for a day.",
        ),
        page(
            "precondition_failed",
            S::PRECONDITION_FAILED,
            "The request has If-Match or If-None-Match, and checkouts have no validators. Nothing was done.",
            "Leave the condition out. An Idempotency-Key keeps a repeat from happening twice.",
        ),
        page(
            "unsupported_media_type",
            S::UNSUPPORTED_MEDIA_TYPE,
            "The body is not said to be JSON, or is encoded.",
            "Send JSON with the header Content-Type: application/json.",
        ),
        page(
            "sale_not_started",
            S::CONFLICT,
            "The sale has not started.",
            "Wait until its start, by the time that the service tells, not by the client's clock.",
        ),
        page(
            "sale_ended",
            S::GONE,
            "The sale ended before the request was carried out. Nothing was bought.",
            "Wait for the next sale.",
        ),
        page(
            "overloaded",
            S::SERVICE_UNAVAILABLE,
            "More requests came at once than can be served in time. Nothing was done.",
            "Ask again after the seconds in Retry-After.",
        ),
        page(
            "unavailable",
            S::SERVICE_UNAVAILABLE,
            "The service cannot answer at the moment. Whether the request was carried out may not be known yet.",
            "Ask again after the seconds in Retry-After: to repeat a request is always safe.",
        ),
    ]
};

/// The one that is the service's own fault.
const INTERNAL: Page = page(
    "internal",
    StatusCode::INTERNAL_SERVER_ERROR,
    "Something went wrong inside the service.",
    "Ask again; if it stays, tell the operator the answer's X-Request-Id.",
);

/// A code's status, and what it means.
pub(crate) fn meaning(code: &str) -> Option<(StatusCode, &'static str)> {
    pages().find(|page| page.code == code).map(|page| (page.status, page.means))
}

fn pages() -> impl Iterator<Item = &'static Page> {
    ALL.iter().chain([&INTERNAL])
}

/// Serves the pages.
pub(crate) fn router() -> Router {
    let pages = Router::new().route(PAGES, get(all)).route("/problems/{code}", get(one));
    pages.layer(map_response(protection::page))
}

/// `GET /problems/`: all of them.
async fn all() -> Html<String> {
    let mut list = String::new();
    for page in pages() {
        let _ = write!(list, "<li><a href=\"{PAGES}{0}\">{0}</a>", page.code);
    }
    Html(document("Problems", &format!("<h1>Problems</h1><ul>{list}</ul>")))
}

/// `GET /problems/{code}`: one of them.
async fn one(code: Result<Path<String>, PathRejection>) -> Result<Html<String>, ApiError> {
    let code = code.map_err(|_| ApiError::RouteNotFound)?;
    let found = pages().find(|page| page.code == *code).ok_or(ApiError::RouteNotFound)?;
    let Page { code, status, means, remedy } = found;
    let text = format!(
        "<h1>{code}</h1><p>Status {status}.</p><h2>What it means</h2><p>{means}</p><h2>What to do</h2><p>{remedy}</p>\
         <p><a href=\"{PAGES}\">All problems</a></p>"
    );
    Ok(Html(document(code, &text)))
}

/// All texts are from this file: nothing has to be escaped.
fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}}</style>{body}</html>"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::application::ports::RefusalReason;

    fn errors() -> Vec<ApiError> {
        let cause = || Arc::new(std::io::Error::other("a test"));
        let mut all = vec![
            ApiError::Validation(BTreeMap::new()),
            ApiError::BodyTooSlow,
            ApiError::BodyBroken,
            ApiError::PreconditionFailed,
            ApiError::SaleIdRequired,
            ApiError::UnsupportedVersion,
            ApiError::SaleNotFound,
            ApiError::NoActiveSale,
            ApiError::CodeNotFound,
            ApiError::NotPurchased,
            ApiError::RouteNotFound,
            ApiError::MethodNotAllowed,
            ApiError::ItemsAlreadySold,
            ApiError::KeyMissing,
            ApiError::KeyInUse,
            ApiError::KeyReused,
            ApiError::MediaTypeUnsupported,
            ApiError::PayloadTooLarge,
            ApiError::UriTooLong,
            ApiError::HeadTooLarge,
            ApiError::Overloaded(cause()),
            ApiError::Unavailable(cause()),
            ApiError::TimedOut,
            ApiError::Internal(cause()),
        ];
        all.extend(RefusalReason::ALL.map(ApiError::from));
        all
    }

    #[test]
    fn every_error_has_a_page_with_its_status_and_every_page_an_error() {
        let told: BTreeMap<_, _> =
            errors().iter().map(ApiError::parts).map(|(status, code, _)| (code, status)).collect();
        let written: BTreeMap<_, _> = pages().map(|page| (page.code, page.status)).collect();

        assert_eq!(told, written);
    }
}
