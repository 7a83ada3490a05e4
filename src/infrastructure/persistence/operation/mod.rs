//! What every change by an operator writes in its own transaction.
//!
//! - [`record`]: the row of the audit, of a change that belongs to no sale. [`request`]: the idempotency key of the request.

pub(crate) mod record;
pub(crate) mod request;
