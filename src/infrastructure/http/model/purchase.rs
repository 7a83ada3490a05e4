//! The body of a purchase in version 2.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::time::rfc3339;
use crate::application::browse::PurchaseView;
use crate::application::catalogue::Item;
use crate::domain::code::CodeClaim;
use crate::domain::ids::ItemNo;
use crate::domain::purchase::{Outcome, SettledLine};
use crate::infrastructure::http::model::schema;

/// A purchase, with its items in the order of their numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Purchase {
    #[schema(value_type = schema::Code)]
    code: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(value_type = schema::BuyerId)]
    buyer_id: String,
    #[schema(value_type = schema::Time)]
    purchased_at: String,
    /// Number of pieces that were bought.
    #[schema(minimum = 0, maximum = 1_000, examples(2))]
    pieces_bought: i32,
    items: Vec<PurchasedItem>,
    /// What an operator has taken back since. The other members stay as the purchase was answered. Absent if nothing was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    cancelled: Vec<CancelledItem>,
}

#[derive(Serialize, ToSchema)]
struct CancelledItem {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
    #[schema(value_type = schema::Time)]
    cancelled_at: String,
}

#[derive(Serialize, ToSchema)]
struct PurchasedItem {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::ItemName)]
    name: String,
    #[schema(value_type = schema::ImageUrl)]
    image_url: String,
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
    #[schema(value_type = schema::Outcome)]
    outcome: &'static str,
}

impl From<PurchaseView> for Purchase {
    fn from(view: PurchaseView) -> Self {
        let cancelled = view.taken_back.iter().filter_map(|taken| {
            let is_same = |settled: &&SettledLine| settled.line.item == taken.item;
            let settled = view.outcome.lines.iter().find(is_same)?;
            let item = view.items.iter().find(|item| item.no == taken.item)?;
            Some(CancelledItem {
                id: item.id.as_str().to_owned(),
                quantity: settled.line.quantity.get(),
                cancelled_at: rfc3339(taken.at),
            })
        });
        let cancelled = cancelled.collect();
        Self { cancelled, ..Self::new(view.code, &view.outcome, view.items) }
    }
}

impl Purchase {
    /// The outcome of a code as it was answered; `items` has the names of its items.
    pub(crate) fn new(code: CodeClaim, outcome: &Outcome, items: Vec<Item>) -> Self {
        let items: HashMap<ItemNo, Item> = items.into_iter().map(|item| (item.no, item)).collect();
        let lines = outcome.lines.iter().filter_map(|settled| {
            let item = items.get(&settled.line.item)?;
            Some(PurchasedItem {
                id: item.id.as_str().to_owned(),
                name: item.name.clone(),
                image_url: item.image_url.clone(),
                quantity: settled.line.quantity.get(),
                outcome: settled.outcome.as_str(),
            })
        });
        Self {
            code: code.to_string(),
            sale_id: code.sale.to_string(),
            buyer_id: outcome.buyer.as_str().to_owned(),
            purchased_at: rfc3339(outcome.purchased_at),
            pieces_bought: outcome.total_purchased(),
            items: lines.collect(),
            cancelled: Vec::new(),
        }
    }
}
