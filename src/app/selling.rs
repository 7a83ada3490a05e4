//! How purchases and checkouts reach PostgreSQL.

use std::sync::Arc;

use super::parts::limits;
use super::services::Services;
use crate::application::ports::{CheckoutBook, Ledger};
use crate::config::BatchConfig;
use crate::infrastructure::batching::BatchMetrics;
#[cfg(feature = "bench")]
use crate::infrastructure::persistence::PostgresDirect;
use crate::infrastructure::persistence::{Database, PostgresCheckoutBook, PostgresLedger};

/// The two ports that sell.
pub(crate) struct Selling {
    pub(crate) book: Arc<dyn CheckoutBook>,
    pub(crate) ledger: Arc<dyn Ledger>,
}

/// Makes them.
pub(crate) type MakeSelling = fn(Database, &BatchConfig, &BatchMetrics, &Services) -> Selling;

/// Requests share transactions.
pub(crate) fn in_groups(
    database: Database,
    batch: &BatchConfig,
    metrics: &BatchMetrics,
    writers: &Services,
) -> Selling {
    let book = PostgresCheckoutBook::new(
        database.clone(),
        limits(batch, batch.checkout_size, batch.checkout_writers),
        batch.retries,
        metrics,
        writers.scope(),
    );
    let ledger = PostgresLedger::new(
        database,
        // One writer a sale: two batches nearly always want the same item.
        limits(batch, batch.purchase_size, 1),
        batch.retries,
        metrics,
        writers.scope(),
    );
    Selling { book: Arc::new(book), ledger: Arc::new(ledger) }
}

/// A transaction a request, to measure against.
#[cfg(feature = "bench")]
pub(crate) fn one_by_one(
    database: Database,
    batch: &BatchConfig,
    _: &BatchMetrics,
    _: &Services,
) -> Selling {
    let direct = Arc::new(PostgresDirect::new(database, batch.retries));
    Selling { book: Arc::<PostgresDirect>::clone(&direct), ledger: direct }
}
