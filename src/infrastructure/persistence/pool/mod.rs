//! The connection pool, and the two ways to use it: single reads and transactions.
//!
//! - [`database`]: the pool. [`connections`] lends its connections, in the order of [`turns`]. [`connect`] opens it, [`connection`] makes
//!   a single connection, [`hosts`] finds the primary among several servers, [`setup`] prepares a connection: session settings, no
//!   standby, and the history that [`server_history`] knows. [`returned`] looks at those that come back.
//! - [`read`]: runs reads. [`transaction`]: runs transactions; [`tx`] has their options. [`deadline`]: ends both in time.
//! - [`error`]: errors, classified by what to do about them. [`observe`], [`metrics`]: what is measured.
//! - [`probe`]: whether PostgreSQL is available. [`stale_connections`]: which connections to test before use. [`health`]: the health
//!   check.
//! - [`standby`]: a pool of connections to a standby, for reads.
//! - [`epochs`]: the epochs of the database, for codes.
//! - [`last_time`]: when something last happened.

pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod database;
pub(crate) mod deadline;
pub(crate) mod epochs;
pub(crate) mod error;
pub(crate) mod health;
mod hosts;
pub(crate) mod last_time;
pub(crate) mod metrics;
pub(crate) mod observe;
pub(crate) mod probe;
pub(crate) mod read;
pub(crate) mod returned;
pub(crate) mod server_history;
pub(crate) mod setup;
pub(crate) mod stale_connections;
pub(crate) mod standby;
pub(crate) mod transaction;
mod turns;
pub(crate) mod tx;
