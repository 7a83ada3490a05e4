//! The checkout book at PostgreSQL: checkouts share transactions, each caller waits for its own answer.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batches::{BatchTransaction, Splitting, not_served};
use super::collect_batch::CollectBatch;
use super::database::Database;
use crate::application::ports::{CheckoutBook, Collect, Collected, PortError};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher};

/// Collects in batches.
pub(crate) struct PostgresCheckoutBook {
    batcher: Batcher<Splitting<CollectBatch>>,
}

impl PostgresCheckoutBook {
    pub(crate) fn new(
        database: Database,
        limits: BatchLimits,
        retries: u32,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let transaction = CollectBatch::new(database.clone());
        let work = Splitting { database, transaction, retries };
        Self { batcher: Batcher::new("checkout", work, limits, metrics, scope) }
    }
}

#[async_trait]
impl CheckoutBook for PostgresCheckoutBook {
    async fn collect(&self, wanted: Collect) -> Result<Collected, PortError> {
        match self.batcher.submit(wanted.sale, wanted).await {
            Ok(reply) => reply,
            Err(reason) => Err(not_served(CollectBatch::WHAT, reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use crate::testing::builders::collect;
    use crate::testing::contracts::checkout_book::checkout_book_contract;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    checkout_book_contract!(PostgresShop::open().await);

    #[tokio::test]
    async fn a_wish_that_cannot_be_stored_fails_alone() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        shop.execute(
            "ALTER TABLE checkout_attempts
             ADD CONSTRAINT nothing_for_mallory CHECK (user_id <> 'mallory')",
        )
        .await;
        let book = &scene.instance.book;
        let wishes = ["ann", "bob", "mallory", "zoe"].map(|name| collect(scene.sale, name, 1, 1));

        let collected = join_all(wishes.map(|wish| book.collect(wish))).await;

        let fine: Vec<_> = collected.iter().map(Result::is_ok).collect();
        assert_eq!(fine, [true, true, false, true]);
        assert_eq!(scene.added("zoe", 1, 2).await.standing.lines.len(), 1);
    }
}
