//! PostgreSQL, where the truth is.
//!
//! **The order of locks**, everywhere and for inserts too: first buyers by the bytes of their user id (`COLLATE "C"`), then
//! items by number. Two transactions that keep to it cannot wait for each other in a circle. Waiting is bounded all the same
//! (`lock_timeout`), and so is a transaction whose instance has stopped (`idle_in_transaction_session_timeout`).
//!
//! **A statement that waited for a lock reads everything else with the snapshot from before the wait.** What must be seen
//! as of the lock is therefore read by a later statement.
//!
//! **Plans do not depend on statistics.** A table that was empty a minute ago has a million rows now. Each look-up of many
//! keys is driven from the array, `unnest(…) CROSS JOIN LATERAL (… OFFSET 0)`, which leaves the planner no other
//! join to choose, and rows that are locked are updated by `ctid`, with the condition kept. The batches' statements name the
//! partition that holds the sale ([`partitions`]), and all but audits plan once, without sequential scans
//! ([`connecting::Planning`]).
//!
//! - [`database`]: the pool. [`connecting`], [`error`]: what its sessions are set to, and what can go wrong. [`pulse`]: whether
//!   PostgreSQL is there, [`suspicion`]: which connections may be of no use. [`transaction`]: the one way to run a transaction.
//! - [`batches`]: group commit with split and retry, on a [`session`] each writer keeps, used by [`checkout_book`] and [`ledger`].
//! - [`key_book`]: idempotency keys, which [`key_rows`] writes within the batches' transactions.
//! - one file an adapter: [`sale_book`], [`item_reader`], [`purchase_history`], [`refusal_store`], [`inspector`], [`health`].
//! - [`database_clock`]: the database's clock as measured from here. [`attempt_ids`]: numbers in blocks.

mod attempt_ids;
mod baskets;
mod batches;
mod checkout_book;
mod collect_batch;
mod collect_rows;
mod collect_sql;
mod company;
mod connecting;
mod database;
mod database_clock;
#[cfg(any(test, feature = "bench"))]
mod direct;
mod error;
mod guards;
mod health;
mod inspector;
mod item_reader;
mod key_book;
mod key_rows;
mod last_time;
mod ledger;
mod metrics;
mod migrate;
mod outcomes;
mod own_writes;
mod partitions;
mod place;
mod plans;
mod pulse;
mod purchase_history;
mod refusal_store;
mod sale_book;
mod session;
mod settle_batch;
mod settle_rows;
mod settle_sql;
mod standing_reader;
mod suspicion;
mod transaction;

pub(crate) use checkout_book::PostgresCheckoutBook;
#[cfg(feature = "bench")]
pub(crate) use collect_sql::{READ as READ_CHECKOUTS, WRITE as WRITE_CHECKOUTS};
pub(crate) use connecting::Planning;
pub(crate) use database::{ConnectError, Database};
pub(crate) use database_clock::DatabaseClock;
#[cfg(any(test, feature = "bench"))]
pub(crate) use direct::PostgresDirect;
pub(crate) use health::PostgresHealth;
pub(crate) use inspector::PostgresInspector;
pub(crate) use item_reader::PostgresItemReader;
pub(crate) use key_book::PostgresKeyBook;
pub(crate) use ledger::PostgresLedger;
pub(crate) use metrics::DatabaseMetrics;
pub(crate) use migrate::{SchemaError, check_schema, migrate};
#[cfg(feature = "bench")]
pub(crate) use partitions::of_partition;
pub(crate) use purchase_history::PostgresPurchaseHistory;
pub(crate) use refusal_store::PostgresRefusalStore;
pub(crate) use sale_book::PostgresSaleBook;
#[cfg(feature = "bench")]
pub(crate) use settle_sql::{READ as READ_PURCHASES, WRITE as WRITE_PURCHASES};
pub(crate) use standing_reader::PostgresStandingReader;
