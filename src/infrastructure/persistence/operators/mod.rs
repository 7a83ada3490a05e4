//! Changes by operators. Each writes its row of the audit in its own transaction.
//!
//! - [`editor`]: changes of sales and of their stock. [`record`]: the row of the audit, which a change writes. [`trail`]: reads them.
//!
//! **Lock order** as everywhere: buyers, items, and after them the sale's row, which no request locks.

pub(crate) mod editor;
pub(crate) mod record;
pub(crate) mod trail;
