//! `POST /checkout`: collect an item.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::ApiError;
use super::json::rfc3339;
use super::openapi::problems::V1Checkout;
use super::openapi::schema;
use super::params::Params;
use crate::application::checkout::{
    CheckoutAnswer, CheckoutCommand, CheckoutRefusal, Wanted, Wish,
};
use crate::domain::ids::{BuyerId, ItemId, Quantity};

#[derive(Serialize, ToSchema)]
struct CheckoutBody {
    #[schema(value_type = schema::Code)]
    code: String,
    /// Lines in the checkout.
    items_count: usize,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(format = DateTime, example = "2027-01-31T16:00:00Z")]
    sale_ends_at: String,
}

/// Collect an item
///
/// Sets the quantity of one item in the buyer's open checkout, and opens one if there is none. Asking for the same item
/// again replaces its quantity. Without `sale_id` the sale that the schedule has opened is meant, else the only one.
#[utoipa::path(
    post,
    path = "/v1/checkout",
    operation_id = "v1_checkout",
    tag = "version 1",
    params(
        ("user_id" = schema::BuyerId, Query, description = "The buyer."),
        ("item_id" = schema::ItemId, Query, description = "The item; `id` is the same."),
        ("quantity" = Option<schema::Quantity>, Query, description = "Pieces; 1 if not said."),
        ("sale_id" = Option<schema::SaleId>, Query, description = "The sale."),
    ),
    responses((status = 200, description = "The item is in the checkout.", body = CheckoutBody,
         links(
             ("purchase" = (operation_id = "v1_purchase", parameters(("code" = "$response.body#/code")))),
             ("outcome" = (operation_id = "v1_purchase_of_code", parameters(("code" = "$response.body#/code")))),
         )), V1Checkout),
)]
pub(crate) async fn post(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    collect(&api, query.as_deref()).await
}

/// Collects what the query asks for.
pub(crate) async fn collect(api: &Api, query: Option<&str>) -> Response {
    answer(api, query).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(api: &Api, query: Option<&str>) -> Result<Response, ApiError> {
    let command = command(query)?;
    if let Some(answer) = api.checkout.glance(&command) {
        return respond(answer);
    }
    let checkout = Arc::clone(&api.checkout);
    respond(api.run(async move { checkout.execute(&command).await }).await?)
}

/// The response to an answer, errors too.
#[cfg(feature = "bench")]
pub(crate) fn response(answer: CheckoutAnswer) -> Response {
    respond(answer).unwrap_or_else(IntoResponse::into_response)
}

fn respond(answer: CheckoutAnswer) -> Result<Response, ApiError> {
    match answer {
        CheckoutAnswer::Accepted { code, lines, sale, .. } => Ok(Json(CheckoutBody {
            code: code.to_string(),
            items_count: lines.len(),
            sale_id: sale.id.to_string(),
            sale_ends_at: rfc3339(sale.window.ends_at()),
        })
        .into_response()),
        CheckoutAnswer::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)) => {
            Err(ApiError::invalid("quantity", beyond(limit)))
        }
        CheckoutAnswer::Refused(why) => Err(why.into()),
    }
}

/// What is wrong with a quantity.
pub(crate) fn beyond(limit: i32) -> String {
    format!("must be a whole number from 1 to {limit}")
}

fn command(query: Option<&str>) -> Result<CheckoutCommand, ApiError> {
    let mut params = Params::parse(query);
    let buyer = params.required("user_id", BuyerId::parse);
    let item = params.required_as("item_id", "id", ItemId::parse);
    let quantity = params
        .number("quantity", 1, i32::MAX.unsigned_abs())
        .and_then(|pieces| Quantity::new(i32::try_from(pieces).ok()?))
        .unwrap_or(Quantity::ONE);
    let sale = params.sale_id();
    params.finish()?;
    // A parameter that is missing here is a fault, and faults have ended this function.
    let (Some(buyer), Some(item)) = (buyer, item) else {
        return Err(ApiError::Validation(super::error::Faults::new()));
    };
    let sale = sale.transpose()?;
    let wish = Wish::Set(vec![Wanted { item, quantity }]);
    Ok(CheckoutCommand { buyer, wish, sale, attempt: None, key: None })
}
