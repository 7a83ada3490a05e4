//! The checkout store in PostgreSQL: checkouts share transactions, and each caller waits for its own reply.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::CollectBatch;
use super::finder::CheckoutFinder;
use crate::application::ports::{
    Caller, CheckoutStore, Collect, Collected, Done, FoundCheckout, Keyed, KeyedRequest, PortError,
};
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher, CHECKOUT};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::splitting::{Retries, Splitting, rejected};
use crate::infrastructure::persistence::batch::transaction::BatchTransaction;
use crate::infrastructure::persistence::idempotency::look_ups::KeyLookUps;
use crate::infrastructure::persistence::idempotency::request::{MaybeKeyed, unkeyed_answer};

/// Collects lines in batches.
pub(crate) struct PostgresCheckoutStore {
    keys: KeyLookUps,
    finder: CheckoutFinder,
    batcher: Batcher<Splitting<CollectBatch>>,
}

impl PostgresCheckoutStore {
    pub(crate) fn new(
        context: BatchContext,
        limits: BatchLimits,
        retries: Retries,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let keys = KeyLookUps::new(context.database.clone());
        let finder = CheckoutFinder::new(context.database.clone());
        let transaction = CollectBatch::new(context.clone());
        let work = Splitting { context, transaction, retries };
        let batcher = Batcher::new(CHECKOUT, work, limits, metrics, scope);
        Self { keys, finder, batcher }
    }

    async fn submit(&self, request: MaybeKeyed<Collect>) -> Result<Option<Collected>, PortError> {
        match self.batcher.submit(request.request.sale, request).await {
            Ok(reply) => reply,
            Err(reason) => Err(rejected(CollectBatch::WHAT, reason)),
        }
    }
}

#[async_trait]
impl CheckoutStore for PostgresCheckoutStore {
    async fn collect(&self, request: Collect) -> Result<Collected, PortError> {
        unkeyed_answer(CollectBatch::WHAT, self.submit(MaybeKeyed::unkeyed(request)).await?)
    }

    async fn collect_keyed(
        &self,
        request: Collect,
        key: KeyedRequest,
    ) -> Result<Keyed<Collected, Done>, PortError> {
        let caller = Caller::Buyer(request.buyer.clone(), Some(request.sale));
        let reply = self.submit(MaybeKeyed::keyed(request, key.clone())).await?;
        self.keys.keyed_answer((caller, key), reply).await
    }

    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError> {
        self.finder.find(sale, attempt).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use crate::testing::builders::collect;
    use crate::testing::contracts::checkout_store::checkout_store_contract;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    checkout_store_contract!(PostgresShop::open().await);

    #[tokio::test]
    async fn a_request_that_cannot_be_stored_fails_alone() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        shop.execute(
            "ALTER TABLE checkout_attempts
             ADD CONSTRAINT nothing_for_mallory CHECK (user_id <> 'mallory')",
        )
        .await;
        let checkouts = &scene.instance.checkouts;
        let buyers = ["ann", "bob", "mallory", "zoe"];
        let requests = buyers.map(|buyer| collect(scene.sale, buyer, 1, 1));

        let replies = join_all(requests.map(|request| checkouts.collect(request))).await;

        let succeeded: Vec<_> = replies.iter().map(Result::is_ok).collect();
        assert_eq!(succeeded, [true, true, false, true]);
        assert_eq!(scene.added("zoe", 1, 2).await.totals.lines.len(), 1);
    }
}
