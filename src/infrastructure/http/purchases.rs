//! `GET /purchases/{code}`: what became of a code.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::ApiError;
use super::json::{OutcomeBody, rfc3339};
use super::openapi::problems::V1OfCode;
use super::openapi::schema;
use crate::application::browse::{PurchaseLookup, PurchaseView};
use crate::domain::code::CodeClaim;

/// A purchase, as histories show it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PastPurchaseBody {
    #[schema(value_type = schema::Code)]
    code: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(format = DateTime)]
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

/// What became of a code
#[utoipa::path(
    get,
    path = "/v1/purchases/{code}",
    operation_id = "v1_purchase_of_code",
    tag = "version 1",
    params(("code" = schema::Code, Path, description = "The checkout's code.")),
    responses((status = 200, description = "The stored outcome, whatever it was.", body = PastPurchaseBody), V1OfCode),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<PastPurchaseBody>, ApiError> {
    let Ok(Path(code)) = code else {
        return Err(ApiError::CodeNotFound);
    };
    let claim = CodeClaim::parse(&code).ok_or(ApiError::CodeNotFound)?;
    match api.read(api.browse.purchase(claim)).await? {
        PurchaseLookup::Found(view) => Ok(Json(view.into())),
        PurchaseLookup::NotPurchased => Err(ApiError::NotPurchased),
        PurchaseLookup::UnknownCode => Err(ApiError::CodeNotFound),
    }
}
