//! The body of a purchase in version 2.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::time::rfc3339;
use crate::application::browse::PurchaseView;
use crate::application::catalogue::Item;
use crate::domain::code::CodeClaim;
use crate::domain::ids::ItemNo;
use crate::domain::purchase::Outcome;
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
        Self::new(view.code, &view.outcome, view.items)
    }
}

impl Purchase {
    /// The outcome of a code; `items` has the names of its items.
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
        }
    }
}
