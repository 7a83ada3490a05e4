//! The service as the outside sees it: child processes of the binary, spoken to over HTTP, on real PostgreSQL and Redis.
//!
//! Run by `make test`, which brings up the servers. Each file is a theme, each test a sentence of what must hold;
//! `harness` is what they stand on.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "what the harness cannot do fails the test"
)]

mod harness;

mod bad_http;
mod bad_input;
mod bad_json;
mod board;
mod browsers;
mod chaos;
mod checkout;
mod cli;
mod clock;
mod codes;
mod crash;
mod disconnects;
mod documentation;
mod http2;
mod idempotency;
mod injection;
mod limits;
mod lists;
mod monitoring;
mod overload;
mod postgres_loss;
mod purchase;
mod race;
mod reading;
mod redis_keys;
mod redis_loss;
mod refusals;
mod repeats;
mod request_id;
mod roles;
mod schedule;
mod secrets;
mod sell;
mod shopping;
mod shutdown;
mod silence;
mod startup;
mod tasks;
mod tls;
mod versions;
