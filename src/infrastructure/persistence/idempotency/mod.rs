//! Idempotency keys.
//!
//! - [`store`]: the adapter, which looks keys up before a request runs ([`look_ups`]), and deletes old ones.
//! - [`request`]: the requests of batches, with or without a key. [`rows`]: looks their keys up again and stores them, within the batch's
//!   transaction.

pub(crate) mod look_ups;
pub(crate) mod request;
pub(crate) mod rows;
pub(crate) mod store;
