//! Endpoints that receive events, and what waits for them.
//!
//! - [`store`]: what operators do with them. [`deliveries`]: leases, and what deliveries store. [`rows`]: rows as values.

pub(crate) mod deliveries;
pub(crate) mod rows;
pub(crate) mod store;
