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
//! ([`connect::Planning`]).
//!
//! - [`database`]: the pool. [`connecting`], [`error`]: what its sessions are set to, and what can go wrong. [`pulse`]: whether
//!   PostgreSQL is there, [`suspicion`]: which connections may be of no use. [`transaction`]: the one way to run a transaction.
//! - [`batches`]: group commit with split and retry, on a [`session`] each writer keeps, used by [`checkout_book`] and [`ledger`].
//! - [`key_book`]: idempotency keys, which [`key_rows`] writes within the batches' transactions.
//! - one file an adapter: [`sale_book`], [`item_reader`], [`purchase_history`], [`refusal_store`], [`inspector`], [`health`].
//! - [`database_clock`]: the database's clock as measured from here. [`attempt_ids`]: numbers in blocks.

pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod checkout;
pub(crate) mod idempotency;
pub(crate) mod pool;
pub(crate) mod purchase;
pub(crate) mod sale;
pub(crate) mod tests;

pub(crate) use audit::buyer_totals::PostgresStandingReader;
pub(crate) use audit::inspector::PostgresInspector;
pub(crate) use audit::refusals::PostgresRefusalStore;
#[cfg(any(test, feature = "bench"))]
pub(crate) use batch::direct::PostgresDirect;
#[cfg(feature = "bench")]
pub(crate) use batch::partitions::of_partition;
#[cfg(feature = "bench")]
pub(crate) use checkout::sql::{READ as READ_CHECKOUTS, WRITE as WRITE_CHECKOUTS};
pub(crate) use checkout::store::PostgresCheckoutBook;
pub(crate) use idempotency::store::PostgresKeyBook;
pub(crate) use pool::clock::DatabaseClock;
pub(crate) use pool::connect::Planning;
pub(crate) use pool::database::{ConnectError, Database};
pub(crate) use pool::health::PostgresHealth;
pub(crate) use pool::metrics::DatabaseMetrics;
pub(crate) use pool::migrate::{SchemaError, check_schema, migrate};
pub(crate) use purchase::history::PostgresPurchaseHistory;
pub(crate) use purchase::ledger::PostgresLedger;
#[cfg(feature = "bench")]
pub(crate) use purchase::sql::{READ as READ_PURCHASES, WRITE as WRITE_PURCHASES};
pub(crate) use sale::items::PostgresItemReader;
pub(crate) use sale::store::PostgresSaleBook;
