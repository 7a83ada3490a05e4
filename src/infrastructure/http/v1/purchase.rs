//! `POST /v1/purchase`: buys a checkout by its code.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::outcome::OutcomeBody;
use crate::application::catalogue::Item;
use crate::application::purchase::Purchased;
use crate::domain::code::CodeClaim;
use crate::domain::purchase::{Outcome, Verdict};
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::error::v1::ErrorBody;
use crate::infrastructure::http::model::headers::IDEMPOTENT_REPLAYED;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::params::Params;
use crate::infrastructure::http::state::HttpState;

#[derive(Serialize, ToSchema)]
struct PurchaseBody {
    #[serde(flatten)]
    outcome: OutcomeBody,
    /// An explanation for people, if nothing was bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    message: Option<&'static str>,
    /// The error code, if nothing was bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    code: Option<&'static str>,
}

/// Buy a checkout
///
/// Buys the lines that are still available, in one transaction. The outcomes 200, 409 `items_already_sold` and 400
/// `user_limit_exceeded` are stored: every later request for the code returns the same outcome, with `Idempotent-Replayed: true`.
#[utoipa::path(
    post,
    path = "/purchase",
    operation_id = "v1_purchase",
    tag = "version 1",
    params(("code" = schema::Code, Query, description = "The checkout's code.")),
    responses(
        Problems,
        (status = 200, description = "At least one line was bought.", body = PurchaseBody,
         headers(("Idempotent-Replayed" = String, description = "`true` if this repeats an earlier response."))),
        (status = 400, description = "- [`validation_failed`](/problems/validation_failed)\n- [`user_limit_exceeded`](/problems/user_limit_exceeded): stored, with all members of 200", body = ErrorBody),
        (status = 409, description = "- [`items_already_sold`](/problems/items_already_sold): stored, with all members of 200\n- [`purchase_in_progress`](/problems/purchase_in_progress)\n- [`sale_not_started`](/problems/sale_not_started)\n- [`checkout_empty`](/problems/checkout_empty)", body = ErrorBody),
    ),
)]
pub(crate) async fn post(
    State(http): State<HttpState>,
    mut caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    settle(&http, &mut caller, parse_code(query.as_deref())?).await
}

/// Buys the checkout that the code claims to be of.
pub(crate) async fn settle(
    http: &HttpState,
    caller: &mut Caller,
    claim: CodeClaim,
) -> Result<Response, ApiError> {
    let Some(command) = http.of(claim.sale).purchase.verify_code(claim).await? else {
        return Err(ApiError::CodeNotFound);
    };
    caller.admit().await?;
    let command = command.on_behalf_of(caller.buyer().cloned());
    let purchase = Arc::clone(&http.of(claim.sale).purchase);
    // In one expression, which has no room for the future itself.
    let executed =
        http.run_to_end("purchase", async move { purchase.execute(command).await }).await?;
    match executed {
        Purchased::Settled { outcome, items, replayed } => {
            let mut response = to_response(&outcome, items);
            if replayed {
                response
                    .headers_mut()
                    .insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            }
            Ok(response)
        }
        Purchased::UnknownCode => Err(http.no_code(claim, ApiError::CodeNotFound).await),
        Purchased::OtherBuyer => Err(caller.not_theirs()),
        Purchased::Refused { reason, facts } => Err(ApiError::refused(reason, facts)),
        // Version 1 has no terms.
        Purchased::Declined { .. } => Err(ApiError::CheckoutChanged),
    }
}

/// The code in the query.
pub(crate) fn parse_code(query: Option<&str>) -> Result<CodeClaim, ApiError> {
    let mut params = Params::parse(query);
    let claim = params.required("code", |text| Ok::<_, String>(CodeClaim::parse(text)));
    params.finish()?;
    claim.flatten().ok_or(ApiError::CodeNotFound)
}

/// The response to a stored outcome: the same for every request.
pub(crate) fn to_response(outcome: &Outcome, items: Vec<Item>) -> Response {
    let refusal = match outcome.verdict() {
        Verdict::Bought => None,
        Verdict::NothingLeft => Some(ApiError::ItemsAlreadySold.entry()),
        Verdict::LimitReached => Some(ApiError::UserLimitExceeded(None).entry()),
    };
    let body = PurchaseBody {
        outcome: OutcomeBody::new(outcome, items),
        message: refusal.map(|entry| entry.message),
        code: refusal.map(|entry| entry.code),
    };
    (refusal.map_or(StatusCode::OK, |entry| entry.status), Json(body)).into_response()
}

problems! {
    /// The error responses.
    Problems in One: "unauthorized" "not_your_checkout" "forbidden" "code_not_found" "purchase_in_progress" "sale_not_started" "checkout_empty" "sale_ended"
        "sale_archived";
}
