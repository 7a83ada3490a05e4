//! Group commit: one transaction decides and writes a batch of requests of one sale.
//!
//! - [`transaction`]: what a batch does, and its modes. [`splitting`]: runs a batch, again or in halves after an error. [`session`]:
//!   runs it once, on a connection.
//! - [`context`]: what the batches of an instance share: the pool, [`contention`] with other writers, and [`recent_writes`], which need
//!   not be read again, with the [`known_buyers`] who have a row.
//! - [`version`]: how the versions of buyers' rows grow.
//! - [`failure`]: the error that all callers of a shared statement get.
//! - Helpers of the statements: [`ctid`] is a row's location, [`lines`] reads lines from columns and bounds
//!   those of a batch.

pub(crate) mod contention;
pub(crate) mod context;
pub(crate) mod ctid;
pub(crate) mod failure;
mod known_buyers;
pub(crate) mod lines;
pub(crate) mod lost_writes;
pub(crate) mod recent_writes;
pub(crate) mod session;
pub(crate) mod splitting;
pub(crate) mod transaction;
pub(crate) mod version;
