//! `/admin/purchases/{code}/cancel`: take a purchase back, or single items of it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::application::operators::cancel_purchase::{
    CancelCommand, CancelPurchaseError, Cancelled,
};
use crate::domain::cancellation::Wanted;
use crate::domain::code::CodeClaim;
use crate::domain::ids::ItemId;
use crate::domain::time_text::rfc3339;
use crate::infrastructure::http::admin::call::Call;
use crate::infrastructure::http::admin::metrics::Action;
use crate::infrastructure::http::admin::perform::{Done, perform};
use crate::infrastructure::http::admin::state::AdminState;
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::OptionalIdempotencyKeyHeader;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::json_body::read_object;
use crate::infrastructure::http::request::path::code_claim;

/// Items of a checkout, at most.
const MAX_ITEMS: usize = 1_000;

/// What to take back.
#[derive(ToSchema)]
#[schema(example = json!({"items": ["17"]}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `cancel` parses")]
struct CancelBody {
    /// Default: all that was sold.
    #[schema(value_type = Vec<schema::ItemId>, min_items = 1, max_items = 1_000, required = false)]
    items: Vec<String>,
}

/// What was taken back.
#[derive(Serialize, ToSchema)]
struct CancelledBody {
    #[schema(value_type = schema::Code)]
    code: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(value_type = schema::BuyerId)]
    buyer_id: String,
    #[schema(value_type = schema::Time)]
    cancelled_at: String,
    /// The lines that were taken back now.
    items: Vec<CancelledLineBody>,
    #[schema(minimum = 1, examples(2))]
    pieces_cancelled: i32,
    /// Pieces of the purchase that stay sold.
    #[schema(minimum = 0, examples(0))]
    pieces_left: i32,
    /// Pieces that the buyer has in the sale afterwards.
    #[schema(minimum = 0, examples(0))]
    bought: i32,
}

/// A line that was taken back.
#[derive(Serialize, ToSchema)]
struct CancelledLineBody {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
}

problems! {
    /// Errors of cancellations.
    CancelProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "change_refused" "code_not_found" "unsupported_media_type";
}

/// Cancel a purchase
///
/// All of it, or single items. The pieces are on sale again on all instances, and the buyer's limit is given back; the outcome of the code
/// stays as it was answered.
#[utoipa::path(
    post,
    path = "/purchases/{code}/cancel",
    operation_id = "cancel_purchase",
    tag = "buyers",
    params(("code" = schema::Code, Path, description = "The code of the purchase."), OptionalIdempotencyKeyHeader),
    request_body = CancelBody,
    responses((status = 200, description = "What was taken back.", body = CancelledBody), CancelProblems),
)]
pub(crate) async fn cancel(
    State(admin): State<AdminState>,
    call: Call,
    code: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, Problem> {
    let code = code_claim(code)?;
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let wanted = if body.is_empty() {
        Wanted::All
    } else {
        let items = read_object(&call.headers, &body, &mut errors, |members| {
            members.optional("items", |json| json.texts(MAX_ITEMS, item))
        })?;
        items.map_or(Wanted::All, Wanted::Items)
    };
    if !errors.is_empty() {
        return Err(ApiError::Validation(errors).into());
    }
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let command = CancelCommand { code, wanted };
        let cancelled = match own.buyers.cancel.execute(&command, &actor).await {
            Ok(cancelled) => cancelled,
            Err(CancelPurchaseError::UnknownCode) => return Err(ApiError::CodeNotFound.into()),
            Err(CancelPurchaseError::Refused(refusal)) => {
                return Err(Problem::detailed(ApiError::ChangeRefused, &refusal));
            }
            Err(CancelPurchaseError::Port(error)) => return Err(error.into()),
        };
        let is_announced = cancelled.is_announced;
        let body = answer(code, cancelled);
        let done = Done::new(StatusCode::OK, &body, Some(Action::PurchaseCancelled));
        Ok(if is_announced { done } else { done.settling_in(own.settle_time) })
    };
    perform(&admin, request, work).await
}

fn answer(code: CodeClaim, cancelled: Cancelled) -> CancelledBody {
    let cancellation = cancelled.cancellation;
    let items = cancellation.lines.iter().map(|taken| CancelledLineBody {
        id: taken.id.as_str().to_owned(),
        quantity: taken.line.quantity.get(),
    });
    CancelledBody {
        code: code.to_string(),
        sale_id: code.sale.to_string(),
        buyer_id: cancellation.buyer.as_str().to_owned(),
        cancelled_at: rfc3339(cancellation.cancelled_at),
        items: items.collect(),
        pieces_cancelled: cancellation.pieces(),
        pieces_left: cancellation.pieces_left,
        bought: cancellation.bought,
    }
}

fn item(text: &str) -> Result<ItemId, String> {
    ItemId::parse(text).map_err(|error| error.to_string())
}
