//! `flash-sale`: sells a limited stock at an announced second to thousands of concurrent buyers, without overselling.
//!
//! `domain` contains the rules, `application` the use cases, `infrastructure` the adapters; `app` wires them together.
//! `ARCHITECTURE.md` describes the design.

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
