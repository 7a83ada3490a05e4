//! The real servers of a test run: a database and a key prefix for each test.

mod postgres;
mod redis;

pub(crate) use postgres::PostgresShop;
pub(crate) use redis::RedisWorld;

/// What `make test` says about its servers.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told about their servers by the environment, which the configuration does not know"
)]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is missing: run `make test`"))
}
