//! PostgreSQL and Redis alone, with what batches of checkouts and of purchases ask of them.
//!
//! - [`postgres`]: the service's own statements, sent by pgbench on a connection that is set up like the service's.
//! - [`redis`]: the service's own scripts, sent in pipelines.

pub(crate) mod postgres;
pub(crate) mod redis;

/// Requests of a batch.
const BATCH: u32 = 128;
