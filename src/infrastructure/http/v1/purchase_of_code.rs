//! `GET /v1/purchases/{code}`: the stored outcome of a code.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::outcome::OutcomeBody;
use crate::application::browse::{PurchaseLookup, PurchaseView};
use crate::infrastructure::http::access::caller::Caller;
use crate::infrastructure::http::error::ApiError;
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::model::time::rfc3339;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::path::code_claim;
use crate::infrastructure::http::state::HttpState;

/// A stored purchase.
#[derive(Serialize, ToSchema)]
pub(crate) struct PastPurchaseBody {
    #[schema(value_type = schema::Code)]
    code: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(value_type = schema::Time)]
    purchased_at: String,
    #[serde(flatten)]
    outcome: OutcomeBody,
}

impl From<PurchaseView> for PastPurchaseBody {
    fn from(view: PurchaseView) -> Self {
        Self {
            code: view.code.to_string(),
            sale_id: view.sale.to_string(),
            purchased_at: rfc3339(view.outcome.purchased_at),
            outcome: OutcomeBody::new(&view.outcome, view.items),
        }
    }
}

/// Get the purchase of a code
///
/// What the purchase sold and what it did not, also after the sale.
#[utoipa::path(
    get,
    path = "/purchases/{code}",
    operation_id = "v1_purchase_of_code",
    tag = "version 1",
    params(("code" = schema::Code, Path, description = "The checkout's code.")),
    responses((status = 200, description = "The stored outcome, also if nothing was bought.", body = PastPurchaseBody), Problems),
)]
pub(crate) async fn get(
    State(http): State<HttpState>,
    caller: Caller,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<PastPurchaseBody>, ApiError> {
    let claim = code_claim(code)?;
    match http.read(http.of(claim.sale).browse.purchase(claim)).await? {
        PurchaseLookup::Found(view) => {
            caller.check_owner(&view.outcome.buyer)?;
            Ok(Json(view.into()))
        }
        PurchaseLookup::NotPurchased => {
            let error = http.no_code(claim, ApiError::NotPurchased).await;
            if matches!(error, ApiError::NotPurchased) {
                http.check_owner(&caller, claim).await?;
            }
            Err(error)
        }
        PurchaseLookup::UnknownCode => Err(ApiError::CodeNotFound),
    }
}

problems! {
    /// The error responses.
    Problems in One: "unauthorized" "not_your_checkout" "forbidden" "code_not_found" "not_purchased" "sale_archived";
}
