//! Batching: callers submit single requests, and a writer serves all waiting requests at once.
//!
//! An idle service answers a single request immediately. A busy one fills its batches by itself, because requests gather
//! while the previous batch runs; only work that asks for it lets them gather a moment longer. Batching is shared by the
//! adapters and knows no technology.
//!
//! - [`work`]: what a caller of this folder implements; [`batch`]: what it serves. [`limits`]: bounds, and why a request is rejected.
//! - [`lanes`]: the queues and their writers. [`long`]: requests that are too long for a common batch. [`admission`]: how many
//!   requests may wait. [`metrics`].

mod admission;
mod batch;
mod lanes;
mod limits;
mod long;
mod metrics;
mod tests;
mod work;

pub(crate) use batch::Batch;
#[cfg(any(test, feature = "bench"))]
pub(crate) use batch::batch_of;
pub(crate) use lanes::Batcher;
pub(crate) use limits::{BatchLimits, Rejected};
pub(crate) use metrics::{BatchMetrics, CHECKOUT, PURCHASE};
pub(crate) use work::BatchWork;
