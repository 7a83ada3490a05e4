//! `POST /v2/checkouts/{code}/purchase`: buy a checkout.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use super::keyed::keyed_response;
use crate::application::purchase::Purchased;
use crate::domain::code::CodeClaim;
use crate::domain::purchase::Verdict;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::headers::IDEMPOTENT_REPLAYED;
use crate::infrastructure::http::model::purchase::Purchase;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::answers::{
    CODE, answers, link, replayable_response, text_header,
};
use crate::infrastructure::http::openapi::params::IdempotencyKeyHeader;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::conditions::refuse_conditions;
use crate::infrastructure::http::request::idempotency_key::{keyed_request, required_key};
use crate::infrastructure::http::request::path::code_claim;
use crate::infrastructure::http::state::HttpState;

/// Buy a checkout
///
/// Buys the lines that are still available, in one transaction. The outcomes 200, 409 `items_already_sold` and 400
/// `user_limit_exceeded` contain the purchase and are stored: every later request for the code returns the same outcome, also
/// after the sale and with another key.
#[utoipa::path(
    post,
    path = "/checkouts/{code}/purchase",
    operation_id = "buy",
    tag = "checkouts",
    params(
        ("code" = schema::Code, Path, description = "The checkout's code."),
        IdempotencyKeyHeader,
    ),
    responses(Answers, Problems),
)]
pub(crate) async fn post(
    State(http): State<HttpState>,
    code: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    refuse_conditions(&headers)?;
    let mut errors = ValidationErrors::new();
    let Some(key) = required_key(&headers, &mut errors)? else {
        return Err(ApiError::Validation(errors).into());
    };
    let claim = code_claim(code)?;
    let key = keyed_request(key, &["purchase", &claim.to_string()]);
    let idempotency = Arc::clone(&http.idempotency);
    let purchased = http.run_to_end(async move { idempotency.purchase(claim, key).await }).await?;
    keyed_response(purchased, |purchased| purchase_response(claim, purchased))
}

fn purchase_response(claim: CodeClaim, purchased: Purchased) -> Result<Response, Problem> {
    let (outcome, items, replayed) = match purchased {
        Purchased::Settled { outcome, items, replayed } => (outcome, items, replayed),
        Purchased::UnknownCode => return Err(ApiError::CodeNotFound.into()),
        Purchased::Refused(reason) => return Err(ApiError::from(reason).into()),
    };
    let purchase = Purchase::new(claim, &outcome, items);
    let mut response = match outcome.verdict() {
        Verdict::Bought => Json(purchase).into_response(),
        Verdict::NothingLeft => Problem::with(ApiError::ItemsAlreadySold, purchase).into_response(),
        Verdict::LimitReached => {
            Problem::with(ApiError::UserLimitExceeded, purchase).into_response()
        }
    };
    let headers = response.headers_mut();
    if let Ok(path) = HeaderValue::try_from(format!("/v2/purchases/{claim}")) {
        headers.insert(header::CONTENT_LOCATION, path);
    }
    if replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
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
    Problems in Two: "user_limit_exceeded" "idempotency_key_missing" "code_not_found" "items_already_sold"
        "purchase_in_progress" "sale_not_started" "checkout_empty" "idempotency_key_in_use"
        "sale_ended" "idempotency_key_reused" "precondition_failed";
}
