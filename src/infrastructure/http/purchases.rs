//! `GET /purchases/{code}`: what became of a code.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;

use super::Api;
use super::error::ApiError;
use super::json::{OutcomeBody, rfc3339};
use crate::application::browse::{PurchaseLookup, PurchaseView};
use crate::domain::code::CodeClaim;

/// A purchase, as histories show it.
#[derive(Serialize)]
pub(super) struct PastPurchaseBody {
    code: String,
    sale_id: String,
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

pub(super) async fn one(
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
