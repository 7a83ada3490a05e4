//! `flash-sale`: sells a limited stock at an announced second, to thousands of buyers at once, and keeps its word.
//!
//! `domain` holds the rules, `application` what the service does, `infrastructure` the technology, `app` puts them
//! together. `ARCHITECTURE.md` tells the rest.

mod app;
pub mod application;
#[cfg(feature = "bench")]
pub mod bench;
pub mod cli;
pub mod config;
pub mod domain;
mod infrastructure;
#[cfg(test)]
mod testing;
