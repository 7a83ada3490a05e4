//! `POST /v2/checkouts/{code}/purchase`: buy a checkout.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use super::checkout_tag::required_tags;
use super::keyed::keyed_response;
use super::requested_lines::{NewItem, content_of, requested_lines};
use crate::application::catalogue::Item;
use crate::application::idempotency::KeyedPurchase;
use crate::application::ports::Keyed;
use crate::application::purchase::{Purchased, RequestedTerms};
use crate::domain::code::CodeClaim;
use crate::domain::ids::ItemId;
use crate::domain::purchase::Verdict;
use crate::domain::terms::Declined;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::headers::IDEMPOTENT_REPLAYED;
use crate::infrastructure::http::model::links;
use crate::infrastructure::http::model::purchase::Purchase;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::answers::{
    CODE, answers, link, replayable_response, text_header,
};
use crate::infrastructure::http::openapi::params::{IdempotencyKeyHeader, IfMatchHeader};
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::idempotency_key::{keyed_request, required_key};
use crate::infrastructure::http::request::json::Json as JsonValue;
use crate::infrastructure::http::request::json_body::read_object;
use crate::infrastructure::http::request::path::code_claim;
use crate::infrastructure::http::state::HttpState;

/// Maximum number of items in `expected`: those of the largest checkout.
const MAX_EXPECTED: usize = 1_000;

/// What must hold, or nothing is bought and nothing is stored.
#[derive(ToSchema)]
#[schema(example = json!({"all_or_nothing": true}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `post` parses")]
struct Terms {
    /// All items of the checkout, in any order: what the buyer was shown. If they differ: 409 `checkout_changed`.
    #[schema(min_items = 1, max_items = 1000, required = false)]
    expected: Vec<NewItem>,
    /// Buys every item, or none: 409 `items_unavailable`. Default: false.
    #[schema(required = false)]
    all_or_nothing: bool,
}

/// Buy a checkout
///
/// Buys the lines that are still available, in one transaction. The outcomes 200, 409 `items_already_sold` and 400
/// `user_limit_exceeded` contain the purchase and are stored: every later request for the code returns the same outcome, also
/// after the sale, with another key and on other terms.
#[utoipa::path(
    post,
    path = "/checkouts/{code}/purchase",
    operation_id = "buy",
    tag = "checkouts",
    params(
        ("code" = schema::Code, Path, description = "The checkout's code."),
        IdempotencyKeyHeader,
        IfMatchHeader,
    ),
    request_body(content = Terms, description = "What must hold, or nothing is bought. It may be left out."),
    responses(Answers, Problems),
)]
pub(crate) async fn post(
    State(http): State<HttpState>,
    caller: Caller,
    code: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let tags = required_tags(&headers)?;
    let mut errors = ValidationErrors::new();
    let key = required_key(&headers, &mut errors)?;
    let claim = code_claim(code);
    let sale = claim.as_ref().ok().map(|claim| claim.sale);
    let limit = || http.of(sale).checkout.buyer_limit(sale);
    let terms = read_terms(&headers, &body, &mut errors, limit)?;
    let (Some(key), true) = (key, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let claim = claim?;
    let key = keyed_request(key, &content(claim, &terms));
    let terms = RequestedTerms { tags, ..terms };
    let idempotency = Arc::clone(&http.of(claim.sale).idempotency);
    let command = KeyedPurchase { claim, buyer: caller.buyer().cloned(), terms };
    let purchase = async move { idempotency.purchase(command, key).await };
    let purchased = http.run_to_end("purchase", purchase).await?;
    if leads_to_nothing(&purchased) {
        return Err(http.no_code(claim, ApiError::CodeNotFound).await.into());
    }
    keyed_response(purchased, &caller, |purchased| purchase_response(claim, &caller, purchased))
}

fn leads_to_nothing(purchased: &Keyed<Purchased>) -> bool {
    matches!(
        purchased,
        Keyed::UnknownCode
            | Keyed::New(Purchased::UnknownCode)
            | Keyed::Replayed(Purchased::UnknownCode)
    )
}

/// The terms in the body, if there is one.
fn read_terms(
    headers: &HeaderMap,
    body: &[u8],
    errors: &mut ValidationErrors,
    limit: impl Fn() -> i32,
) -> Result<RequestedTerms, ApiError> {
    if body.is_empty() {
        return Ok(RequestedTerms::default());
    }
    read_object(headers, body, errors, |members| {
        let expected = members.has("expected");
        let lines = expected.then(|| requested_lines("expected", MAX_EXPECTED, members, limit));
        let all_or_nothing = members.optional("all_or_nothing", JsonValue::flag).unwrap_or(false);
        RequestedTerms { tags: None, lines, all_or_nothing }
    })
}

/// The content of the request, by which a reused key is detected. A condition of the head is not part of it: a repeat gets the same
/// response whatever has changed.
fn content(claim: CodeClaim, terms: &RequestedTerms) -> Vec<String> {
    let mut content = vec!["purchase".to_owned(), claim.to_string()];
    if terms.all_or_nothing {
        content.push("all or nothing".to_owned());
    }
    if let Some(lines) = &terms.lines {
        content.push("expected".to_owned());
        content.extend(content_of(lines));
    }
    content
}

fn purchase_response(
    claim: CodeClaim,
    caller: &Caller,
    purchased: Purchased,
) -> Result<Response, Problem> {
    let (outcome, items, replayed) = match purchased {
        Purchased::Settled { outcome, items, replayed } => (outcome, items, replayed),
        Purchased::UnknownCode => return Err(ApiError::CodeNotFound.into()),
        Purchased::OtherBuyer => return Err(caller.not_theirs().into()),
        Purchased::Refused { reason, facts } => {
            return Err(ApiError::refused(reason, facts).into());
        }
        Purchased::Declined { declined, items } => return Err(problem_of(&declined, &items)),
    };
    let purchase = Purchase::new(claim, &outcome, items);
    let mut response = match outcome.verdict() {
        Verdict::Bought => Json(purchase).into_response(),
        Verdict::NothingLeft => Problem::with(ApiError::ItemsAlreadySold, purchase).into_response(),
        Verdict::LimitReached => {
            Problem::with(ApiError::UserLimitExceeded(None), purchase).into_response()
        }
    };
    let headers = response.headers_mut();
    if let Ok(path) = HeaderValue::try_from(links::link(&format!("/v2/purchases/{claim}"))) {
        headers.insert(header::CONTENT_LOCATION, path);
    }
    if replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Why nothing was bought: the terms of the request.
fn problem_of(declined: &Declined, items: &[Item]) -> Problem {
    match declined {
        Declined::OtherTag => ApiError::PreconditionFailed.into(),
        Declined::OtherLines => ApiError::CheckoutChanged.into(),
        Declined::Unavailable(_) => {
            let items: Vec<ItemId> = items.iter().map(|item| item.id.clone()).collect();
            Problem::about(ApiError::ItemsUnavailable, &items)
        }
    }
}

answers! {
    /// The successful responses.
    Answers:
        "200" => replayable_response("At least one line was bought.", &Purchase::name())
            .header("Content-Location", text_header("The path of the purchase."))
            .link("purchase", link("purchase_of_code", &[("code", CODE)]));
}

problems! {
    /// The error responses.
    Problems in Two: "unauthorized" "not_your_checkout" "forbidden" "user_limit_exceeded" "idempotency_key_missing" "code_not_found" "items_already_sold"
        "purchase_in_progress" "sale_not_started" "checkout_empty" "idempotency_key_in_use"
        "sale_ended" "idempotency_key_reused" "precondition_failed" "checkout_changed" "items_unavailable"
        "unsupported_media_type" "sale_archived";
}
