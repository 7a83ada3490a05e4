//! `PUT /v2/checkouts/{code}/items/{item_id}`: sets the quantity of an item.

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa::ToSchema;

use super::change::{change_checkout, code_and_item};
use super::checkout_tag::required_tags;
use crate::application::checkout::{LineChange, RequestedLine};
use crate::application::idempotency::ChangeCommand;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::answers::{answers, checkout_response};
use crate::infrastructure::http::openapi::params::{IfMatchHeader, OptionalIdempotencyKeyHeader};
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::idempotency_key::{keyed_request, optional_key};
use crate::infrastructure::http::request::json_body::{parse_quantity, read_object};
use crate::infrastructure::http::request::path::code_claim;
use crate::infrastructure::http::state::HttpState;

/// The quantity of an item.
#[derive(ToSchema)]
#[schema(example = json!({"quantity": 2}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `put` parses")]
struct NewQuantity {
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
}

/// Set the quantity of an item
///
/// Adds the item to the checkout, or replaces its quantity. A repeat changes nothing.
#[utoipa::path(
    put,
    path = "/checkouts/{code}/items/{item_id}",
    operation_id = "put_item",
    tag = "checkouts",
    params(
        ("code" = schema::Code, Path, description = "The checkout's code."),
        ("item_id" = schema::ItemId, Path, description = "The item."),
        OptionalIdempotencyKeyHeader,
        IfMatchHeader,
    ),
    request_body = NewQuantity,
    responses(Answers, Problems),
)]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
pub(crate) async fn put(
    State(http): State<HttpState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let tags = required_tags(&headers)?;
    let mut errors = ValidationErrors::new();
    let key = optional_key(&headers, &mut errors);
    let (code, item) = code_and_item(&uri, path, &mut errors);
    let claim = code_claim(code);
    let sale = claim.as_ref().ok().map(|claim| claim.sale);
    let limit = || http.of(sale).checkout.buyer_limit(sale);
    let quantity = read_object(&headers, &body, &mut errors, |members| {
        members.required("quantity", |quantity| parse_quantity(quantity, limit))
    })?;
    let (Some(quantity), Some(item), true) = (quantity, item, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let claim = claim?;
    let key = key.map(|key| {
        let content = ["put", &claim.to_string(), item.as_str(), &quantity.get().to_string()];
        keyed_request(key, &content)
    });
    let line_change = LineChange::Set(vec![RequestedLine { item, quantity }]);
    let buyer = caller.buyer().cloned();
    change_checkout(&http, &caller, ChangeCommand { claim, buyer, line_change, tags, key }).await
}

answers! {
    /// The successful responses.
    Answers:
        "200" => checkout_response("The item was in the checkout; its quantity is replaced.");
        "201" => checkout_response("The item is new in the checkout.");
}

problems! {
    /// The error responses.
    Problems in Two: "unauthorized" "not_your_checkout" "forbidden" "user_limit_exceeded" "code_not_found" "item_not_found" "item_sold_out" "sale_sold_out"
        "sale_not_started" "checkout_closed" "idempotency_key_in_use" "sale_ended"
        "unsupported_media_type" "idempotency_key_reused" "precondition_failed" "sale_archived";
}
