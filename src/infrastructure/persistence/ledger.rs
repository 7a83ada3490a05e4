//! The ledger at PostgreSQL: purchases share transactions, each caller waits for its own outcome.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batches::{BatchTransaction, Splitting, not_served};
use super::database::Database;
use super::outcomes;
use super::settle_batch::SettleBatch;
use crate::application::ports::{Ledger, PortError, Settled};
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::purchase::Outcome;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher};

/// Settles in batches.
pub(crate) struct PostgresLedger {
    database: Database,
    batcher: Batcher<Splitting<SettleBatch>>,
}

impl PostgresLedger {
    /// One writer a sale: two batches nearly always want the same item.
    pub(crate) fn new(
        database: Database,
        limits: BatchLimits,
        retries: u32,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let transaction = SettleBatch::new(database.clone());
        let work = Splitting { transaction, retries };
        Self { database, batcher: Batcher::new("purchase", work, limits, metrics, scope) }
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn settle(&self, sale: SaleId, attempt: AttemptId) -> Result<Settled, PortError> {
        match self.batcher.submit(sale, attempt).await {
            Ok(reply) => reply,
            Err(reason) => Err(not_served(SettleBatch::WHAT, reason)),
        }
    }

    async fn outcome(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<Outcome>, PortError> {
        let what = "the outcome";
        let mut connection =
            self.database.acquire().await.map_err(|error| error.into_port_error(what))?;
        let attempts = [attempt.get()];
        let stored = outcomes::stored(&mut connection, sale, &attempts);
        let stored = self.database.read(what, stored).await?;
        Ok(stored.into_iter().next().map(|stored| stored.outcome))
    }
}
