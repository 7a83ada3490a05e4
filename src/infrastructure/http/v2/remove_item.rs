//! `DELETE /v2/checkouts/{code}/items/{item_id}`: removes an item.

use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::change::{change_checkout, code_and_item};
use super::checkout_tag::required_tags;
use crate::application::checkout::LineChange;
use crate::application::idempotency::ChangeCommand;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::answers::{answers, checkout_response};
use crate::infrastructure::http::openapi::params::{IfMatchHeader, OptionalIdempotencyKeyHeader};
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::idempotency_key::{keyed_request, optional_key};
use crate::infrastructure::http::request::path::code_claim;
use crate::infrastructure::http::state::HttpState;

/// Remove an item
///
/// Returns 200 also if the item was not in the checkout.
#[utoipa::path(
    delete,
    path = "/checkouts/{code}/items/{item_id}",
    operation_id = "remove_item",
    tag = "checkouts",
    params(
        ("code" = schema::Code, Path, description = "The checkout's code."),
        ("item_id" = schema::ItemId, Path, description = "The item."),
        OptionalIdempotencyKeyHeader,
        IfMatchHeader,
    ),
    responses(Answers, Problems),
)]
pub(crate) async fn delete(
    State(http): State<HttpState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tags = required_tags(&headers)?;
    let mut errors = ValidationErrors::new();
    let key = optional_key(&headers, &mut errors);
    let (code, item) = code_and_item(&uri, path, &mut errors);
    let (Some(item), true) = (item, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let claim = code_claim(code)?;
    let key = key.map(|key| keyed_request(key, &["delete", &claim.to_string(), item.as_str()]));
    let line_change = LineChange::Remove(item);
    let buyer = caller.buyer().cloned();
    change_checkout(&http, &caller, ChangeCommand { claim, buyer, line_change, tags, key }).await
}

answers! {
    /// The successful responses.
    Answers:
        "200" => checkout_response("The checkout without the item.");
}

problems! {
    /// The error responses.
    Problems in Two: "unauthorized" "not_your_checkout" "forbidden" "code_not_found" "item_not_found" "sale_not_started" "checkout_closed"
        "idempotency_key_in_use" "sale_ended" "idempotency_key_reused" "precondition_failed" "sale_archived";
}
