//! Checkouts: buyers' open attempts and their lines.
//!
//! - [`store`]: the adapter. [`batch`]: a batch from its requests to its replies. [`finder`]: reads one checkout.
//! - A batch is read by [`statements`] into [`rows`], fills one [`basket`] for each buyer, is decided by [`decide`], and written from
//!   columns again. [`sql`] has the SQL.
//! - [`attempt_ids`]: numbers of attempts, taken in blocks.

pub(crate) mod attempt_ids;
pub(crate) mod basket;
pub(crate) mod batch;
pub(crate) mod decide;
pub(crate) mod finder;
pub(crate) mod rows;
pub(crate) mod sql;
pub(crate) mod statements;
pub(crate) mod store;
