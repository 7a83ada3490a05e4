//! The technology behind the ports, one folder a kind. A folder knows the layers below, its own section of the
//! configuration and its own technology, never a sibling; only [`batching`] and [`circuit`], kits without technology, are shared.
//!
//! - [`http`]: what front ends talk to. [`persistence`]: PostgreSQL. [`cache`]: Redis. [`monitoring`]: metrics, health,
//!   logs. [`schedule`]: cron. [`signing`]: the MAC of codes.

pub(crate) mod batching;
pub(crate) mod cache;
pub(crate) mod circuit;
pub(crate) mod http;
pub(crate) mod monitoring;
pub(crate) mod persistence;
pub(crate) mod schedule;
pub(crate) mod signing;
