//! What operators do in a shop, from the command line or over HTTP. Each change leaves a row in the audit.
//!
//! - [`edit_sale`]: change, end or cancel a sale. [`restock`]: add pieces to an item.
//! - [`import_items`]: add many items to a sale, from a file.

pub mod edit_sale;
pub mod import_items;
pub mod restock;
