//! Sales and their items, and the database's clock.
//!
//! - [`store`]: creates and reads sales. [`items`]: reads a sale's items and their stock.
//! - [`clock`]: the database's clock, measured whenever the live sales are read.

pub(crate) mod clock;
pub(crate) mod items;
pub(crate) mod store;
