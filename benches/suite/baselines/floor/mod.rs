//! PostgreSQL and Redis alone, with the commands of batches of checkouts and purchases.
//!
//! - [`postgres`]: the service's statements, sent by pgbench on a connection with the service's settings.
//! - [`redis`]: the service's scripts, sent in pipelines.
//! - [`disk`]: the time of the disk to flush a page during another scenario.

pub(crate) mod disk;
pub(crate) mod postgres;
pub(crate) mod redis;

/// Requests of a batch.
const BATCH: u32 = 128;
