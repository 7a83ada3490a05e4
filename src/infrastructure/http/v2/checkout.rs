//! `GET /v2/checkouts/{code}`: one checkout.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::checkout_tag::tagged_unless_known;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::answers::{NotModified, answers, checkout_response};
use crate::infrastructure::http::openapi::params::IfNoneMatchHeader;
use crate::infrastructure::http::openapi::problems::CodeProblems;
use crate::infrastructure::http::request::path::code_claim;
use crate::infrastructure::http::state::HttpState;

/// Get a checkout
///
/// Its items and its state, also after its purchase and after its sale.
#[utoipa::path(
    get,
    path = "/checkouts/{code}",
    operation_id = "checkout",
    tag = "checkouts",
    params(("code" = schema::Code, Path, description = "The checkout's code."), IfNoneMatchHeader),
    responses(Answers, NotModified, CodeProblems),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    caller: Caller,
    code: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let claim = code_claim(code)?;
    let checkout = http.read(http.of(claim.sale).idempotency.find(claim)).await?;
    let Some(checkout) = checkout else {
        return Err(http.no_code(claim, ApiError::CodeNotFound).await.into());
    };
    caller.check_owner(&checkout.buyer)?;
    Ok(tagged_unless_known(&headers, checkout))
}

answers! {
    /// The successful responses.
    Answers:
        "200" => checkout_response("The current state of the checkout.");
}
