//! `POST /purchase`: buy what a code stands for.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, Body};
use super::json::OutcomeBody;
use super::openapi::problems::V1Purchase;
use super::openapi::schema;
use super::params::Params;
use crate::application::catalogue::Item;
use crate::application::purchase::Purchased;
use crate::domain::code::CodeClaim;
use crate::domain::purchase::{Outcome, Verdict};

pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

#[derive(Serialize, ToSchema)]
struct PurchaseBody {
    #[serde(flatten)]
    outcome: OutcomeBody,
    /// For people, where nothing was bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    message: Option<&'static str>,
    /// For machines, where nothing was bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    code: Option<&'static str>,
}

/// Buy what a code stands for
///
/// Buys as many lines as are still there, in one transaction. The answers 200, 409 `items_already_sold` and 400
/// `user_limit_exceeded` are stored: every repeat gets the same, with `Idempotent-Replayed: true`.
#[utoipa::path(
    post,
    path = "/v1/purchase",
    operation_id = "v1_purchase",
    tag = "version 1",
    params(("code" = schema::Code, Query, description = "The checkout's code.")),
    responses(
        V1Purchase,
        (status = 200, description = "At least one line was bought.", body = PurchaseBody,
         headers(("Idempotent-Replayed" = String, description = "`true` where it is the first answer again."))),
        (status = 400, description = "- [`validation_failed`](/problems/validation_failed)\n- [`user_limit_exceeded`](/problems/user_limit_exceeded): stored, with all that 200 has beside", body = Body),
        (status = 409, description = "- [`items_already_sold`](/problems/items_already_sold): stored, with all that 200 has beside\n- [`purchase_in_progress`](/problems/purchase_in_progress)\n- [`sale_not_started`](/problems/sale_not_started)\n- [`checkout_empty`](/problems/checkout_empty)", body = Body),
    ),
)]

pub(crate) async fn post(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    buy(&api, query.as_deref()).await
}

/// Buys what the query's code stands for.
pub(crate) async fn buy(api: &Api, query: Option<&str>) -> Response {
    answer(api, query).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(api: &Api, query: Option<&str>) -> Result<Response, ApiError> {
    let claim = claim(query)?;
    let Some(command) = api.purchase.admit(claim) else {
        return Err(ApiError::CodeNotFound);
    };
    let purchase = Arc::clone(&api.purchase);
    match api.run(async move { purchase.execute(command).await }).await? {
        Purchased::Settled { outcome, items, replayed } => {
            let mut response = respond(&outcome, items);
            if replayed {
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            }
            Ok(response)
        }
        Purchased::UnknownCode => Err(ApiError::CodeNotFound),
        Purchased::Refused(reason) => Err(reason.into()),
        Purchased::KeyUsed => Err(ApiError::KeyInUse),
    }
}

fn claim(query: Option<&str>) -> Result<CodeClaim, ApiError> {
    let mut params = Params::parse(query);
    let claim = params.required("code", |text| Ok::<_, String>(CodeClaim::parse(text)));
    params.finish()?;
    claim.flatten().ok_or(ApiError::CodeNotFound)
}

/// The three answers that are stored, told the same way each time.
pub(crate) fn respond(outcome: &Outcome, items: Vec<Item>) -> Response {
    let (status, message, code) = match outcome.verdict() {
        Verdict::Bought => (StatusCode::OK, None, None),
        Verdict::NothingLeft => {
            (StatusCode::CONFLICT, Some("none of the items is left"), Some("items_already_sold"))
        }
        Verdict::LimitReached => (
            StatusCode::BAD_REQUEST,
            Some("this would be more than a buyer may have in this sale"),
            Some("user_limit_exceeded"),
        ),
    };
    let body = PurchaseBody { outcome: OutcomeBody::new(outcome, items), message, code };
    (status, Json(body)).into_response()
}
