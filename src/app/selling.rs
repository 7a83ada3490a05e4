//! How checkouts and purchases reach PostgreSQL.

use std::sync::Arc;

use super::limits::limits;
use super::task_groups::TaskGroup;
use crate::application::ports::{CheckoutStore, Ledger};
use crate::config::BatchConfig;
use crate::infrastructure::batching::BatchMetrics;
#[cfg(feature = "bench")]
use crate::infrastructure::persistence::PostgresDirect;
use crate::infrastructure::persistence::{
    BatchContext, Database, LostWrites, PostgresCheckoutStore, PostgresLedger,
};

/// The two ports that sell.
pub(crate) struct Selling {
    pub(crate) checkouts: Arc<dyn CheckoutStore>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) lost_writes: Arc<LostWrites>,
}

/// Creates both ports. They share what they know of other writers and of recent writes.
pub(crate) type MakeSelling = fn(Database, &BatchConfig, &BatchMetrics, &TaskGroup) -> Selling;

/// Requests share transactions.
pub(crate) fn in_groups(
    database: Database,
    batch: &BatchConfig,
    metrics: &BatchMetrics,
    writers: &TaskGroup,
) -> Selling {
    let context = BatchContext::new(database);
    let lost_writes = Arc::clone(&context.lost_writes);
    let checkouts = PostgresCheckoutStore::new(
        context.clone(),
        limits(batch, batch.checkout_size, batch.checkout_writers),
        batch.retries,
        metrics,
        writers.scope(),
    );
    let ledger = PostgresLedger::new(
        context,
        // One writer for each sale: two batches nearly always sell the same item.
        limits(batch, batch.purchase_size, 1),
        batch.retries,
        metrics,
        writers.scope(),
    );
    Selling { checkouts: Arc::new(checkouts), ledger: Arc::new(ledger), lost_writes }
}

/// Each request has a transaction of its own, for comparison.
#[cfg(feature = "bench")]
pub(crate) fn one_by_one(
    database: Database,
    batch: &BatchConfig,
    _: &BatchMetrics,
    _: &TaskGroup,
) -> Selling {
    let context = BatchContext::new(database);
    let lost_writes = Arc::clone(&context.lost_writes);
    let direct = Arc::new(PostgresDirect::new(context, batch.retries));
    Selling { checkouts: Arc::<PostgresDirect>::clone(&direct), ledger: direct, lost_writes }
}
