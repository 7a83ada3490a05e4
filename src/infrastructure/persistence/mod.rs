//! PostgreSQL, the source of truth.
//!
//! **Lock order**, everywhere and for inserts too: first buyers by the bytes of their user id (`COLLATE "C"`), then items by number.
//! Transactions that keep it cannot deadlock. Waits are bounded all the same (`lock_timeout`), and so is a transaction whose instance
//! has stopped (`idle_in_transaction_session_timeout`).
//!
//! **A statement that waited for a lock reads everything else with the snapshot from before the wait.** What must be read as of the lock
//! is therefore read by a later statement.
//!
//! **Plans do not depend on statistics.** A table that was empty a minute ago has a million rows now. Each look-up of many keys is driven
//! from the array, `unnest(…) CROSS JOIN LATERAL (… OFFSET 0)`, which leaves the planner no other join to choose, and rows that were read
//! are updated by `ctid`, with the condition kept. The statements of requests name the partition that holds the sale
//! ([`partitions`]), and all sessions but those of audits plan once, without sequential scans ([`Planning`]).
//!
//! - [`pool`]: the connection pool, reads and transactions. [`partitions`]: statements that name a sale's partition.
//! - [`batch`]: group commit, which [`checkout`] and [`purchase`] are built on. [`idempotency`]: keys, which their batches store.
//!   `direct`: the same without group commit, for comparison.
//! - [`outbox`]: events that wait for their delivery. [`webhooks`]: endpoints that receive them, and what waits for these.
//! - [`jobs`]: jobs, and [`schedules`] that enqueue them.
//! - [`operation`]: what every change by an operator writes in its own transaction.
//! - [`sale`]: sales and items. [`operators`]: what operators change, and the audit of it.
//!   [`stories`]: what is on record of buyers and attempts. [`report`]: reports of sales, and their close.
//!   [`retention`]: old sales. [`audit`]: the inspection, and the record of refusals.
//! - [`replicas`]: standbys that answer lists and reports.
//! - [`mod@explain`]: the statements by name, their plans, and how logs name them.
//! - `requirements`: what the server must be like. `migrate`: the schema. [`cell`]: which part of the sales is here. [`row`]: rows as structs.
//! - [`tests`]: guards and plans of the statements.

pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod cell;
pub(crate) mod checkout;
#[cfg(any(test, feature = "bench"))]
pub(crate) mod direct;
pub(crate) mod explain;
pub(crate) mod idempotency;
pub(crate) mod jobs;
pub(crate) mod migrate;
pub(crate) mod operation;
pub(crate) mod operators;
pub(crate) mod outbox;
pub(crate) mod partitions;
pub(crate) mod pool;
pub(crate) mod purchase;
pub(crate) mod replicas;
pub(crate) mod report;
pub(crate) mod requirements;
pub(crate) mod retention;
pub(crate) mod row;
pub(crate) mod sale;
pub(crate) mod schedules;
pub(crate) mod stories;
pub(crate) mod tests;
pub(crate) mod webhooks;

pub(crate) use audit::buyer_totals::PostgresBuyerTotalsReader;
pub(crate) use audit::inspector::PostgresInspector;
pub(crate) use audit::refusals::PostgresRefusalStore;
pub(crate) use batch::context::BatchContext;
pub(crate) use batch::lost_writes::LostWrites;
pub(crate) use batch::splitting::Retries;
pub(crate) use cell::{CellError, check_cell, take_cell};
pub(crate) use checkout::store::PostgresCheckoutStore;
pub(crate) use explain::all as named_statements;
pub(crate) use explain::fingerprint::recognise;
pub(crate) use explain::named::Named;
pub(crate) use explain::plans::{ExplainError, Explained, PlanFormat, Wanted, explain};
pub(crate) use idempotency::store::PostgresIdempotencyStore;
pub(crate) use jobs::attempts::PostgresJobAttempts;
pub(crate) use jobs::enqueue::PostgresJobQueue;
pub(crate) use jobs::notifications::PostgresJobNotifications;
pub(crate) use jobs::reader::PostgresJobReader;
pub(crate) use jobs::repair::PostgresJobRepair;
pub(crate) use jobs::workers::PostgresWorkerJobs;
pub(crate) use migrate::{SchemaError, check_schema, migrate};
pub(crate) use operators::api_keys::PostgresApiKeyStore;
pub(crate) use operators::canceller::PostgresPurchaseCanceller;
pub(crate) use operators::editor::PostgresSaleEditor;
pub(crate) use operators::importer::PostgresItemImporter;
pub(crate) use operators::requests::PostgresOperatorRequests;
pub(crate) use operators::trail::PostgresAuditTrail;
pub(crate) use outbox::sinks::PostgresSinkStore;
pub(crate) use outbox::store::PostgresOutbox;
pub(crate) use pool::connect::ConnectError;
pub(crate) use pool::database::Database;
pub(crate) use pool::epochs::PostgresEpochReader;
pub(crate) use pool::health::PostgresHealth;
pub(crate) use pool::metrics::DatabaseMetrics;
pub(crate) use pool::setup::Planning;
pub(crate) use purchase::cancellations::PostgresCancellations;
pub(crate) use purchase::history::PostgresPurchaseHistory;
pub(crate) use purchase::ledger::PostgresLedger;
pub(crate) use purchase::outcome_reader::OutcomeReader;
pub(crate) use replicas::health::ReplicaHealth;
pub(crate) use replicas::reads::OnReplicas;
pub(crate) use replicas::set::{InvalidReplicas, Replicas};
pub(crate) use report::document as report_document;
pub(crate) use report::store::PostgresSaleReports;
pub(crate) use requirements::{
    RequirementError, check_requirements, check_sessions, check_unsubscribed,
};
pub(crate) use retention::PostgresRetention;
pub(crate) use sale::clock::DatabaseClock;
pub(crate) use sale::items::PostgresItemReader;
pub(crate) use sale::local_times::PostgresLocalTimes;
pub(crate) use sale::store::PostgresSaleStore;
pub(crate) use schedules::runs::PostgresScheduleRuns;
pub(crate) use schedules::store::PostgresScheduleStore;
pub(crate) use stories::reader::PostgresStoryReader;
pub(crate) use webhooks::deliveries::PostgresDeliveryStore;
pub(crate) use webhooks::store::PostgresWebhookStore;

#[cfg(feature = "bench")]
pub(crate) use checkout::sql::{READ as READ_CHECKOUTS, WRITE as WRITE_CHECKOUTS};
#[cfg(any(test, feature = "bench"))]
pub(crate) use direct::PostgresDirect;
#[cfg(feature = "bench")]
pub(crate) use partitions::for_partition;
#[cfg(feature = "bench")]
pub(crate) use purchase::sql::{READ as READ_PURCHASES, WRITE as WRITE_PURCHASES};
