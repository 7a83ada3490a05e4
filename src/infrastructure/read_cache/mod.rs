//! The read cache: moka in this process, over the cache that all instances share.
//!
//! - [`pages`]: both tiers. [`generations`]: what has been forgotten. [`metrics`]: what operators see.
//!
//! Every page carries the generation of its scope in its key, so that a read that began before a change is never shared with a reader
//! who came after it, and nothing has to be searched for. What is in memory is bounded in bytes, and lives no longer than its kind may.

mod generations;
mod metrics;
mod pages;
mod tests;

pub(crate) use metrics::ReadCacheMetrics;
pub(crate) use pages::TwoTierCache;
