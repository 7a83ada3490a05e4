//! Tests of the statements on real servers.
//!
//! - `guards`: each condition of the writing statements alone. `plans`: their work on large tables, as
//!   measured by `work`.

pub(crate) mod guards;
pub(crate) mod plans;
pub(crate) mod work;
