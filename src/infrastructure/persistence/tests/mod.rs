//! Tests of the statements on real servers.
//!
//! - `guards`: each condition of the writing statements alone. `plans`: their work on large tables, as
//!   measured by `work`. `versions`: how the versions of buyers' rows grow.
//! - `cancellations`: what they change elsewhere.
//! - `long`: batches with long checkouts. `lanes`: many sales on one pool.

pub(crate) mod cancellations;
pub(crate) mod guards;
pub(crate) mod lanes;
pub(crate) mod long;
mod partitions;
pub(crate) mod plans;
pub(crate) mod versions;
pub(crate) mod work;
