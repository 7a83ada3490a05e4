//! Shapes that several endpoints answer.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::schema;
use crate::application::catalogue::Item;
use crate::domain::ids::ItemNo;
use crate::domain::purchase::Outcome;

/// A moment as RFC 3339 in UTC.
pub(crate) fn rfc3339(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A line that was bought.
#[derive(Serialize, ToSchema)]
pub(crate) struct BoughtLine {
    #[schema(value_type = schema::ItemId)]
    id: String,
    name: String,
    image_url: String,
    quantity: i32,
}

/// A line that was not.
#[derive(Serialize, ToSchema)]
pub(crate) struct FailedLine {
    #[schema(value_type = schema::ItemId)]
    id: String,
    quantity: i32,
    #[schema(value_type = schema::FailureReason)]
    reason: &'static str,
}

/// What a purchase came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutcomeBody {
    /// Whether at least one line was bought.
    success: bool,
    purchased_items: Vec<BoughtLine>,
    /// Pieces that were bought.
    total_purchased: i32,
    /// Lines that were not.
    failed_count: usize,
    failed_items: Vec<FailedLine>,
}

impl OutcomeBody {
    /// The outcome, with the names of its items.
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
                    reason: settled.fate.as_str(),
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
