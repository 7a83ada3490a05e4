//! How Redis is reached: one server, the master that Sentinels name, or a cluster.
//!
//! - [`servers`] is the choice, made once by the configuration. [`address`] turns configured nodes into clients.
//!   [`sentinel`] finds the master. [`cluster`] connects to all masters.
//! - [`connection`]: a link, the connections to what is reached now. It is replaced as a whole, for example when there is
//!   another master.
//! - [`scan`]: visits the keys of every master.

mod address;
mod cluster;
mod connection;
mod scan;
mod sentinel;
mod servers;

pub(crate) use address::InvalidRedis;
#[cfg(test)]
pub(crate) use connection::POOL_SIZE;
pub(crate) use connection::{BackgroundConnection, Link, NotLent, SharedConnection};
pub(crate) use scan::Scan;
pub(crate) use servers::Servers;
