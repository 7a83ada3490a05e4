//! The body of a checkout in version 2.

use serde::Serialize;
use utoipa::ToSchema;

use crate::application::idempotency::{CheckoutStatus, CheckoutView};
use crate::infrastructure::http::model::schema;

/// A checkout, with its items in the order in which they were collected.
#[derive(Serialize, ToSchema)]
pub(crate) struct Checkout {
    #[schema(value_type = schema::Code)]
    code: String,
    #[schema(value_type = schema::SaleId)]
    sale_id: String,
    #[schema(value_type = schema::BuyerId)]
    buyer_id: String,
    state: CheckoutState,
    /// Number of pieces of all items.
    #[schema(minimum = 0, maximum = 1_000, examples(2))]
    pieces: i32,
    items: Vec<CollectedItem>,
}

/// The state of a checkout.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CheckoutState {
    /// It can be changed and purchased.
    Open,
    /// It has been purchased, also if nothing was bought.
    Purchased,
    /// Its sale is not open: it can be neither changed nor purchased.
    Closed,
}

#[derive(Serialize, ToSchema)]
struct CollectedItem {
    #[schema(value_type = schema::ItemId)]
    id: String,
    #[schema(value_type = schema::ItemName)]
    name: String,
    #[schema(value_type = schema::ImageUrl)]
    image_url: String,
    #[schema(value_type = schema::Quantity)]
    quantity: i32,
}

impl From<CheckoutView> for Checkout {
    fn from(view: CheckoutView) -> Self {
        let CheckoutView { code, buyer, lines, status, tag: _ } = view;
        let items = lines.into_iter().map(|(item, quantity)| CollectedItem {
            id: item.id.as_str().to_owned(),
            name: item.name,
            image_url: item.image_url,
            quantity: quantity.get(),
        });
        let items: Vec<CollectedItem> = items.collect();
        Self {
            code: code.to_string(),
            sale_id: code.sale.to_string(),
            buyer_id: buyer.as_str().to_owned(),
            state: match status {
                CheckoutStatus::Open => CheckoutState::Open,
                CheckoutStatus::Purchased => CheckoutState::Purchased,
                CheckoutStatus::Closed => CheckoutState::Closed,
            },
            pieces: items.iter().map(|item| item.quantity).sum(),
            items,
        }
    }
}
