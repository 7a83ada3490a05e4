//! Sales and their items, and the database's clock.
//!
//! - [`store`]: creates and reads sales. [`items`]: reads a sale's items and their stock.
//! - [`local_times`]: local times by PostgreSQL's rules of time zones.
//! - [`clock`]: the database's clock, measured whenever the live sales are read.

pub(crate) mod clock;
pub(crate) mod items;
pub(crate) mod local_times;
pub(crate) mod store;
