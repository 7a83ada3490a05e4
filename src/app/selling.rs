//! How checkouts and purchases reach PostgreSQL.

use std::sync::Arc;

use super::limits::limits;
use super::task_groups::TaskGroup;
use crate::application::ports::{CheckoutStore, Ledger};
use crate::config::Config;
use crate::infrastructure::batching::BatchMetrics;
#[cfg(feature = "bench")]
use crate::infrastructure::persistence::PostgresDirect;
use crate::infrastructure::persistence::{
    BatchContext, Database, LostWrites, PostgresCheckoutStore, PostgresLedger, Retries,
};

/// The two ports that sell.
pub(crate) struct Selling {
    pub(crate) checkouts: Arc<dyn CheckoutStore>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) lost_writes: Arc<LostWrites>,
}

/// Creates both ports. They share what they know of other writers and of recent writes.
pub(crate) type MakeSelling = fn(Database, &Config, &BatchMetrics, &TaskGroup) -> Selling;

/// Requests share transactions.
pub(crate) fn in_groups(
    database: Database,
    config: &Config,
    metrics: &BatchMetrics,
    writers: &TaskGroup,
) -> Selling {
    let (batch, retries) = (&config.batch, retries(config));
    let context = BatchContext::new(database);
    let lost_writes = Arc::clone(&context.lost_writes);
    let checkouts = PostgresCheckoutStore::new(
        context.clone(),
        limits(batch, batch.checkout_size, batch.checkout_writers),
        retries,
        metrics,
        writers.scope(),
    );
    let ledger = PostgresLedger::new(
        context,
        // One writer for each sale: two batches nearly always sell the same item.
        limits(batch, batch.purchase_size, 1),
        retries,
        metrics,
        writers.scope(),
    );
    Selling { checkouts: Arc::new(checkouts), ledger: Arc::new(ledger), lost_writes }
}

/// Each request has a transaction of its own, for comparison.
#[cfg(feature = "bench")]
pub(crate) fn one_by_one(
    database: Database,
    config: &Config,
    _: &BatchMetrics,
    _: &TaskGroup,
) -> Selling {
    let context = BatchContext::new(database);
    let lost_writes = Arc::clone(&context.lost_writes);
    let direct = Arc::new(PostgresDirect::new(context, retries(config)));
    Selling { checkouts: Arc::<PostgresDirect>::clone(&direct), ledger: direct, lost_writes }
}

/// A client gets its answer within the request timeout, or a 503.
fn retries(config: &Config) -> Retries {
    Retries { times: config.batch.retries, caller_timeout: config.http.request_timeout }
}
