//! Changes by operators. Each writes its row of the audit in its own transaction.
//!
//! - [`editor`]: changes of sales and of their stock. [`canceller`]: purchases that are taken back.
//!   [`importer`]: imports of items. [`record`]: the row of the audit, which a change writes. [`trail`]: reads them.
//!   `locked_sale`: the sale that a change has locked. [`api_keys`]: keys of operators and services. [`requests`]: idempotency keys.
//!
//! **Lock order** as everywhere: buyers, items, and after them the sale's row, which no request locks.

pub(crate) mod api_keys;
pub(crate) mod canceller;
pub(crate) mod editor;
pub(crate) mod importer;
mod locked_sale;
pub(crate) mod record;
pub(crate) mod requests;
pub(crate) mod trail;
