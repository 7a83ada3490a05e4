//! Tests of the statements on real servers.
//!
//! - `guards`: each condition of the writing statements alone. `plans`: their work on large tables, as
//!   measured by `work`. `versions`: how the versions of buyers' rows grow.

pub(crate) mod guards;
mod partitions;
pub(crate) mod plans;
pub(crate) mod versions;
pub(crate) mod work;
