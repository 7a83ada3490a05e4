//! Rate limits that all instances share.
//!
//! - [`shared`]: counts in Redis, one script call for all requests that wait. [`memory`]: what this instance knows of buckets, by
//!   which a full one refuses without I/O, and by which it decides while Redis is away.
//! - [`pending`]: requests that were answered from memory, counted in Redis a moment later.
//! - [`policies`]: the limits. [`limiter`]: all of it together.

mod limiter;
mod memory;
mod pending;
mod policies;
mod shared;

pub(crate) use limiter::RedisRateLimiter;
