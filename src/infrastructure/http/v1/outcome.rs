//! The body of a purchase's outcome in version 1.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::application::catalogue::Item;
use crate::domain::ids::ItemNo;
use crate::domain::purchase::Outcome;
use crate::infrastructure::http::model::schema;

/// A line that was bought.
#[derive(Serialize, ToSchema)]
pub(crate) struct BoughtLine {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::ItemName)]
    name: String,
    #[schema(value_type = schema::ImageUrl)]
    image_url: String,
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
}

/// A line that was not bought.
#[derive(Serialize, ToSchema)]
pub(crate) struct FailedLine {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
    #[schema(value_type = schema::FailureReason)]
    reason: &'static str,
}

/// The outcome of a purchase.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutcomeBody {
    /// Whether at least one line was bought.
    #[schema(examples(true))]
    success: bool,
    purchased_items: Vec<BoughtLine>,
    /// Number of pieces that were bought.
    #[schema(minimum = 0, maximum = 1_000, examples(2))]
    total_purchased: i32,
    /// Number of lines that were not bought.
    #[schema(minimum = 0, maximum = 1_000, examples(1))]
    failed_count: usize,
    failed_items: Vec<FailedLine>,
}

impl OutcomeBody {
    /// The outcome; `items` has the names of its items.
    pub(crate) fn new(outcome: &Outcome, items: Vec<Item>) -> Self {
        let mut items: HashMap<ItemNo, Item> =
            items.into_iter().map(|item| (item.no, item)).collect();
        let mut purchased_items = Vec::new();
        for settled in outcome.sold() {
            let quantity = settled.line.quantity.get();
            let Some(item) = items.remove(&settled.line.item) else {
                continue;
            };
            purchased_items.push(BoughtLine {
                id: item.id.as_str().to_owned(),
                name: item.name,
                image_url: item.image_url,
                quantity,
            });
        }
        let failed_items: Vec<FailedLine> = outcome
            .failed()
            .filter_map(|settled| {
                Some(FailedLine {
                    id: items.get(&settled.line.item)?.id.as_str().to_owned(),
                    quantity: settled.line.quantity.get(),
                    reason: settled.outcome.as_str(),
                })
            })
            .collect();
        Self {
            success: !purchased_items.is_empty(),
            purchased_items,
            total_purchased: outcome.total_purchased(),
            failed_count: failed_items.len(),
            failed_items,
        }
    }
}
