//! PostgreSQL and Redis alone, with what batches of checkouts and of purchases ask of them.
//!
//! - [`postgres`]: the service's own statements, sent by pgbench on a connection that is set up like the service's.
//! - [`redis`]: the service's own scripts, sent in pipelines.
//!
//! And [`disk`]: how long the disk under both makes a commit wait, while something else goes on.

pub(crate) mod disk;
pub(crate) mod postgres;
pub(crate) mod redis;

/// Requests of a batch.
const BATCH: u32 = 128;
