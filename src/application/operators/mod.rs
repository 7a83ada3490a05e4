//! What operators do in a shop, from the command line or over HTTP. Each change leaves a row in the audit.
//!
//! - [`cancel_purchase`]: take a purchase back, or single items of it.
//! - [`announced_edits`]: notify the instances of a changed sale at once.
//! - [`buyer_story`]: what happened to a buyer. [`why`]: what happened to a checkout or a request, and why.
//! - [`edit_sale`]: change, end or cancel a sale. [`restock`]: add pieces to an item.
//! - [`import_items`]: add many items to a sale, from a file.

pub mod announced_edits;
pub mod buyer_story;
pub mod cancel_purchase;
pub mod edit_sale;
pub mod import_items;
pub mod restock;
pub mod why;
