//! The real servers of a test run: a database and a key prefix for each test. [`environment`] has their addresses.

mod environment;
mod postgres;
mod redis;

pub(crate) use environment::setting;
pub(crate) use postgres::{PostgresShop, on_server};
pub(crate) use redis::RedisWorld;
