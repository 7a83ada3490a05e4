//! `GET /v2/purchases/{code}`: what became of a code.

use std::collections::HashMap;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, ApiError, Problem};
use crate::application::browse::{PurchaseLookup, PurchaseView};
use crate::application::catalogue::Item;
use crate::domain::code::CodeClaim;
use crate::domain::ids::ItemNo;
use crate::domain::purchase::Outcome;
use crate::infrastructure::http::json::rfc3339;
use crate::infrastructure::http::openapi::problems::OfPurchase;
use crate::infrastructure::http::openapi::schema;

/// A purchase, with its items by number.
#[derive(Serialize, ToSchema)]
pub(crate) struct Purchase {
    #[schema(value_type = schema::Code)]
    code: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(value_type = schema::BuyerId)]
    buyer_id: String,
    #[schema(format = DateTime, example = "2027-01-31T15:00:01.5Z")]
    purchased_at: String,
    pieces_bought: i32,
    items: Vec<Line>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PurchasedItem)]
struct Line {
    #[schema(value_type = schema::ItemId)]
    id: String,
    name: String,
    image_url: String,
    quantity: i32,
    #[schema(value_type = schema::Outcome)]
    outcome: &'static str,
}

impl From<PurchaseView> for Purchase {
    fn from(view: PurchaseView) -> Self {
        Self::new(view.code, &view.outcome, view.items)
    }
}

impl Purchase {
    /// What a code came to, with the items that it names.
    pub(crate) fn new(code: CodeClaim, outcome: &Outcome, items: Vec<Item>) -> Self {
        let items: HashMap<ItemNo, Item> = items.into_iter().map(|item| (item.no, item)).collect();
        let lines = outcome.lines.iter().filter_map(|settled| {
            let item = items.get(&settled.line.item)?;
            Some(Line {
                id: item.id.as_str().to_owned(),
                name: item.name.clone(),
                image_url: item.image_url.clone(),
                quantity: settled.line.quantity.get(),
                outcome: settled.fate.as_str(),
            })
        });
        Self {
            code: code.to_string(),
            sale_id: code.sale.to_string(),
            buyer_id: outcome.buyer.as_str().to_owned(),
            purchased_at: rfc3339(outcome.purchased_at),
            pieces_bought: outcome.total_purchased(),
            items: lines.collect(),
        }
    }
}

/// What became of a code
#[utoipa::path(
    get,
    path = "/v2/purchases/{code}",
    operation_id = "purchase_of_code",
    tag = "purchases",
    params(("code" = schema::Code, Path, description = "The checkout's code.")),
    responses((status = 200, description = "The stored outcome, whatever it was.", body = Purchase), OfPurchase),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<Purchase>, Problem> {
    let code = code.map_err(|_| ApiError::CodeNotFound)?;
    let claim = CodeClaim::parse(&code).ok_or(ApiError::CodeNotFound)?;
    match api.read(api.browse.purchase(claim)).await? {
        PurchaseLookup::Found(view) => Ok(Json(view.into())),
        PurchaseLookup::NotPurchased => Err(ApiError::NotPurchased.into()),
        PurchaseLookup::UnknownCode => Err(ApiError::CodeNotFound.into()),
    }
}
