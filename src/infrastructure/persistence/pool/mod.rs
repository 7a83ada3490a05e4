//! ROOMDOC

pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod database;
pub(crate) mod error;
pub(crate) mod health;
pub(crate) mod last_time;
pub(crate) mod metrics;
pub(crate) mod migrate;
pub(crate) mod probe;
pub(crate) mod stale_connections;
pub(crate) mod transaction;
