//! `POST /v1/checkout`: puts an item into a checkout.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use utoipa::ToSchema;

use crate::application::checkout::{
    CheckoutAnswer, CheckoutCommand, CheckoutRefusal, LineChange, RequestedLine,
};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{BuyerId, ItemId, Quantity};
use crate::domain::sale::Sale;
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::json::json_response;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::model::time::push_rfc3339;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::params::{Params, parse_quantity, quantity_out_of_range};
use crate::infrastructure::http::state::HttpState;
use crate::infrastructure::traces::in_span;

/// The body. [`write_body`] writes it.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Serialize))]
#[cfg_attr(not(test), expect(dead_code, reason = "it describes the body"))]
struct CheckoutBody {
    #[schema(value_type = schema::Code)]
    code: String,
    /// Number of lines in the checkout.
    #[schema(minimum = 0, maximum = 1_000, examples(1))]
    items_count: usize,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(format = DateTime, examples("2027-01-31T16:00:00Z"))]
    sale_ends_at: String,
}

/// Collect an item
///
/// Sets the quantity of one item in the buyer's open checkout, and opens a checkout if the buyer has no open one. A second request
/// for the same item replaces its quantity. A checkout reserves nothing.
#[utoipa::path(
    post,
    path = "/checkout",
    operation_id = "v1_checkout",
    tag = "version 1",
    params(
        ("user_id" = schema::BuyerId, Query, description = "The buyer. With a token it may be left out."),
        ("item_id" = schema::ItemId, Query, description = "The item. The name `id` is accepted too."),
        ("quantity" = Option<schema::Quantity>, Query, description = "Number of pieces. Default: 1."),
        ("sale_id" = Option<schema::SaleId>, Query,
         description = "The sale. Default: the one that the schedule has opened, else the only open sale."),
    ),
    responses((status = 200, description = "The item is in the checkout.", body = CheckoutBody,
         links(
             ("purchase" = (operation_id = "v1_purchase", parameters(("code" = "$response.body#/code")))),
             ("outcome" = (operation_id = "v1_purchase_of_code", parameters(("code" = "$response.body#/code")))),
         )), Problems),
)]
pub(crate) async fn post(
    State(http): State<HttpState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    match begin(&http, &caller, query.as_deref())? {
        Begun::Refused(refused) => to_response(refused),
        Begun::Accepted(command) => execute(&http, command).await,
    }
}

/// A request with valid parameters.
pub(crate) enum Begun {
    /// It is refused from memory.
    Refused(CheckoutAnswer),
    Accepted(CheckoutCommand),
}

/// Parses the query, and refuses what can be refused from memory.
pub(crate) fn begin(
    http: &HttpState,
    caller: &Caller,
    query: Option<&str>,
) -> Result<Begun, ApiError> {
    let command = parse_command(http, caller, query)?;
    let refuse = || http.of(command.sale).checkout.refuse_from_cache(&command);
    Ok(match in_span("checkout", refuse) {
        Some(refused) => Begun::Refused(refused),
        None => Begun::Accepted(command),
    })
}

/// Collects what was not refused from memory.
pub(crate) async fn execute(
    http: &HttpState,
    command: CheckoutCommand,
) -> Result<Response, ApiError> {
    let checkout = Arc::clone(&http.of(command.sale).checkout);
    // In one expression, which has no room for the future itself.
    let executed =
        http.run_to_end("checkout", async move { checkout.execute(&command).await }).await?;
    to_response(executed)
}

/// The response, also for a refusal.
#[cfg(feature = "bench")]
pub(crate) fn response(answer: CheckoutAnswer) -> Response {
    use axum::response::IntoResponse;

    to_response(answer).unwrap_or_else(IntoResponse::into_response)
}

/// The response, if it is no error.
pub(crate) fn to_response(answer: CheckoutAnswer) -> Result<Response, ApiError> {
    match answer {
        CheckoutAnswer::Accepted { code, lines, sale, .. } => {
            Ok(json_response(write_body(&code, lines.len(), &sale)))
        }
        CheckoutAnswer::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)) => {
            Err(ApiError::invalid("quantity", quantity_out_of_range(limit)))
        }
        CheckoutAnswer::Refused(refusal) => Err(refusal.into()),
    }
}

/// The JSON of a [`CheckoutBody`]. Every checkout has one: without a string for each member, as nothing in it needs an escape.
fn write_body(code: &CodeClaim, lines: usize, sale: &Sale) -> String {
    let mut body = String::with_capacity(160);
    body.push_str(r#"{"code":""#);
    code.push_to(&mut body);
    body.push_str(r#"","items_count":"#);
    body.push_str(itoa::Buffer::new().format(lines));
    body.push_str(r#","sale_id":""#);
    sale.id.push_to(&mut body);
    body.push_str(r#"","sale_ends_at":""#);
    push_rfc3339(&mut body, sale.window.ends_at());
    body.push_str(r#""}"#);
    body
}

fn parse_command(
    http: &HttpState,
    caller: &Caller,
    query: Option<&str>,
) -> Result<CheckoutCommand, ApiError> {
    let mut params = Params::parse(query);
    let named = match caller.buyer() {
        Some(_) => params.optional("user_id", BuyerId::parse_new),
        None => params.required("user_id", BuyerId::parse_new),
    };
    let item = params.required_as("item_id", "id", ItemId::parse);
    let sale = params.sale_id();
    let named_sale = sale.as_ref().and_then(|sale| sale.as_ref().ok().copied());
    let quantity = params.optional("quantity", |text| {
        parse_quantity(text).ok_or_else(|| {
            quantity_out_of_range(http.of(named_sale).checkout.buyer_limit(named_sale))
        })
    });
    let quantity = quantity.unwrap_or(Quantity::ONE);
    params.finish()?;
    let buyer = caller.buyer_of(named)?;
    // Not reached: `finish` returns the errors of missing and invalid parameters.
    let (Some(buyer), Some(item)) = (buyer, item) else {
        return Err(ApiError::Validation(ValidationErrors::new()));
    };
    let sale = sale.transpose()?;
    let line_change = LineChange::Set(vec![RequestedLine { item, quantity }]);
    Ok(CheckoutCommand { buyer, line_change, sale, attempt: None, tags: None })
}

problems! {
    /// The error responses.
    Problems in One: "unauthorized" "not_your_checkout" "forbidden" "user_limit_exceeded" "sale_id_required" "item_not_found" "sale_not_found" "no_active_sale"
        "item_sold_out" "sale_sold_out" "sale_not_started" "sale_ended" "sale_archived";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::{KeyTag, MAC_BYTES};
    use crate::infrastructure::http::model::time::rfc3339;
    use crate::testing::builders::{a_sale, attempt_id};

    #[test]
    fn the_body_is_written_as_it_is_described() {
        let sale = a_sale(77);
        let tag = KeyTag::from_bits(33);
        let code = CodeClaim { sale: sale.id, attempt: attempt_id(5), tag, mac: [7; MAC_BYTES] };
        let described = CheckoutBody {
            code: code.to_string(),
            items_count: 12,
            sale_id: sale.id.to_string(),
            sale_ends_at: rfc3339(sale.window.ends_at()),
        };

        assert_eq!(write_body(&code, 12, &sale), serde_json::to_string(&described).unwrap());
    }
}
