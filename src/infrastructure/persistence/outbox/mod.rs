//! Events, between the transaction that writes them and the sinks.
//!
//! - [`store`]: the outbox, in the order of delivery. [`sinks`]: how far each sink has delivered.

pub(crate) mod sinks;
pub(crate) mod store;
