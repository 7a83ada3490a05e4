//! Ids as arguments.

use crate::domain::ids::{ItemId, SaleId};

/// Parses the id of a sale.
pub(super) fn parse_sale(text: &str) -> Result<SaleId, &'static str> {
    SaleId::parse(text).ok_or("a sale id looks like S-1")
}

/// Parses the id of an item.
pub(super) fn parse_item(text: &str) -> Result<ItemId, String> {
    ItemId::parse(text).map_err(|error| format!("an item id {error}"))
}
