//! `POST /v2/checkouts`: puts items into a checkout.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use super::checkout_tag::tagged;
use super::keyed::keyed_response;
use super::requested_lines::{NewItem, content_of, requested_lines};
use crate::application::checkout::{CheckoutCommand, CheckoutRefusal, LineChange, RequestedLine};
use crate::application::idempotency::{CheckoutReply, CheckoutView};
use crate::domain::ids::{BuyerId, SaleId};
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::links::link;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::answers::{
    answers, checkout_response, text_header, with_links,
};
use crate::infrastructure::http::openapi::params::IdempotencyKeyHeader;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::conditions::refuse_conditions;
use crate::infrastructure::http::request::idempotency_key::{keyed_request, required_key};
use crate::infrastructure::http::request::json_body::read_object;
use crate::infrastructure::http::request::params::{quantity_out_of_range, sale_id};
use crate::infrastructure::http::state::HttpState;

/// Maximum number of items in one request.
const MAX_ITEMS: usize = 100;

/// Items to put into the buyer's checkout.
#[derive(ToSchema)]
#[schema(example = json!({"buyer_id": "ann", "sale_id": "S-1", "items": [{"id": "17", "quantity": 2}, {"id": "4"}]}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `post` parses")]
struct NewItems {
    /// With a token it may be left out.
    #[schema(value_type = schema::BuyerId)]
    buyer_id: String,
    /// Default: the sale that the schedule has opened, else the only open sale.
    #[schema(value_type = schema::SaleId, required = false)]
    sale_id: String,
    /// Each item at most once.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<NewItem>,
}

/// Collect items
///
/// Sets the quantities of these items in the buyer's open checkout, all of them or none. Opens a checkout if the buyer has no open
/// one. A checkout reserves nothing.
#[utoipa::path(
    post,
    path = "/checkouts",
    operation_id = "collect",
    tag = "checkouts",
    params(IdempotencyKeyHeader),
    request_body = NewItems,
    responses(Answers, Problems),
)]
pub(crate) async fn post(
    State(http): State<HttpState>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    refuse_conditions(&headers)?;
    let mut errors = ValidationErrors::new();
    let key = required_key(&headers, &mut errors)?;
    let (buyer, sale, lines) = read_object(&headers, &body, &mut errors, |members| {
        let buyer = match caller.buyer() {
            Some(_) => members.optional("buyer_id", |id| id.text(BuyerId::parse_new)),
            None => members.required("buyer_id", |id| id.text(BuyerId::parse_new)),
        };
        let sale = members.optional("sale_id", |id| id.text(sale_id));
        let named = sale.as_ref().and_then(|sale| sale.as_ref().ok().copied());
        let limit = || http.of(named).checkout.buyer_limit(named);
        let lines = requested_lines("items", MAX_ITEMS, members, limit);
        (buyer, sale, lines)
    })?;
    let buyer = if errors.is_empty() { caller.buyer_of(buyer)? } else { buyer };
    let (Some(buyer), Some(key), true) = (buyer, key, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let sale: Option<SaleId> = sale.transpose()?;
    let key = keyed_request(key, &content(sale, &lines));
    let quantities: Vec<i32> = lines.iter().map(|line| line.quantity.get()).collect();
    let line_change = LineChange::Set(lines);
    let command = CheckoutCommand { buyer, line_change, sale, attempt: None, tags: None };
    let idempotency = Arc::clone(&http.of(sale).idempotency);
    let collect = async move { idempotency.checkout(command, key).await };
    let changed = http.run_to_end("checkout", collect).await?;
    keyed_response(changed, &caller, |changed| match changed {
        CheckoutReply::Accepted { view, created } => Ok(accepted(view, created)),
        CheckoutReply::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)) => {
            let too_large =
                quantities.iter().enumerate().filter(|(_, quantity)| **quantity > limit);
            let errors = too_large.map(|(index, _)| {
                (format!("#/items/{index}/quantity").into(), quantity_out_of_range(limit))
            });
            Err(ApiError::Validation(errors.collect()).into())
        }
        CheckoutReply::Refused(refusal) => Err(refusal.into()),
    })
}

fn accepted(view: CheckoutView, created: bool) -> Response {
    let location = HeaderValue::try_from(link(&format!("/v2/checkouts/{}", view.code)));
    let body = tagged(view);
    match location {
        Ok(location) if created => {
            (StatusCode::CREATED, [(header::LOCATION, location)], body).into_response()
        }
        _ => body.into_response(),
    }
}

/// The content of the request, by which a reused key is detected.
fn content(sale: Option<SaleId>, lines: &[RequestedLine]) -> Vec<String> {
    let sale = sale.map_or_else(String::new, |sale| sale.to_string());
    ["collect".to_owned(), sale].into_iter().chain(content_of(lines)).collect()
}

answers! {
    /// The successful responses.
    Answers:
        "200" => with_links(checkout_response("The items are in the checkout that was open."));
        "201" => with_links(checkout_response("The items are in a new checkout."))
            .header("Location", text_header("The path of the checkout."));
}

problems! {
    /// The error responses.
    Problems in Two: "unauthorized" "not_your_checkout" "forbidden" "user_limit_exceeded" "sale_id_required" "idempotency_key_missing" "item_not_found"
        "sale_not_found" "no_active_sale" "item_sold_out" "sale_sold_out" "sale_not_started"
        "idempotency_key_in_use" "sale_ended" "unsupported_media_type" "idempotency_key_reused"
        "precondition_failed" "sale_archived";
}
