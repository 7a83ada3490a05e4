//! Reports of sales, and the close of ended ones.
//!
//! [`facts`] reads what the record holds, each table of the sale once; [`document`] is a report as JSON, as it is stored, sent and
//! printed; [`closing`] finds the sales that can be closed; [`store`] is the adapter.

pub(crate) mod closing;
pub(crate) mod document;
pub(super) mod facts;
pub(crate) mod store;
mod tests;
