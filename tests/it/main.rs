//! Black-box tests: child processes of the binary on real PostgreSQL and Redis, used over HTTP.
//!
//! `make test` runs them and starts the servers. Each file is a theme, and each test's name a sentence that must hold. `harness`
//! is what they are built on; they share `tests/support` with the benchmarks.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "what the harness cannot do fails the test"
)]

#[expect(dead_code, reason = "the benchmarks use the rest")]
#[path = "../support/dice.rs"]
mod dice;
mod harness;
#[expect(dead_code, reason = "the benchmarks use the rest")]
#[path = "../support/program.rs"]
mod program;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/tokens.rs"]
mod tokens;

mod access;
mod admin;
mod admin_documentation;
mod admin_keys;
mod admin_repeats;
mod bad_http;
mod bad_input;
mod bad_json;
mod board;
mod browsers;
mod cells;
mod chaos;
mod checkout;
mod cli;
mod clock;
mod codes;
mod crash;
mod disconnects;
mod documentation;
mod endpoints;
mod events;
mod examples;
mod explain;
mod failover;
mod http2;
mod idempotency;
mod injection;
mod jobs;
mod limits;
mod links;
mod lists;
mod live;
mod live_configuration;
mod many_sales;
mod monitoring;
mod operators;
mod operators_page;
mod overload;
mod pages;
mod pooler;
mod postgres_loss;
mod postgres_tls;
mod purchase;
mod race;
mod rate_limits;
mod read_cache;
mod reading;
mod reasons;
mod redis_cluster;
mod redis_keys;
mod redis_loss;
mod redis_rights;
mod redis_sentinel;
mod refusals;
mod repeats;
mod replicas;
mod request_id;
mod requirements;
mod retention;
mod returns;
mod roles;
mod sale_report;
mod schedule;
mod schedules;
mod secrets;
mod sell;
mod shop_page;
mod shopping;
mod shutdown;
mod signatures;
mod silence;
mod sold_out_hints;
mod startup;
mod tasks;
mod terms;
mod tls;
mod traces;
mod valkey;
mod versions;
mod webhooks;
