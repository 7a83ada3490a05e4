//! The checkout store in PostgreSQL: checkouts share transactions, and each caller waits for its own reply.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::CollectBatch;
use crate::application::ports::{
    Caller, CheckoutStore, Collect, Collected, Done, FoundCheckout, Keyed, KeyedRequest, PortError,
};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::lines::line;
use crate::infrastructure::persistence::batch::splitting::{Splitting, rejected};
use crate::infrastructure::persistence::batch::transaction::BatchTransaction;
use crate::infrastructure::persistence::idempotency::request::{MaybeKeyed, unkeyed_answer};
use crate::infrastructure::persistence::idempotency::store::keyed_answer;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

/// Collects lines in batches.
pub(crate) struct PostgresCheckoutStore {
    database: Database,
    batcher: Batcher<Splitting<CollectBatch>>,
}

impl PostgresCheckoutStore {
    pub(crate) fn new(
        context: BatchContext,
        limits: BatchLimits,
        retries: u32,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let database = context.database.clone();
        let transaction = CollectBatch::new(context.clone());
        let work = Splitting { context, transaction, retries };
        Self { database, batcher: Batcher::new("checkout", work, limits, metrics, scope) }
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
        let caller = Caller::Buyer(request.buyer.clone());
        let reply = self.submit(MaybeKeyed::keyed(request, key.clone())).await?;
        keyed_answer(&self.database, (caller, key), reply).await
    }

    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError> {
        found_checkout(&self.database, sale, attempt).await
    }
}

from_row! {
    /// An attempt with its lines.
    #[derive(Debug)]
    struct FoundRow {
        user_id: String,
        purchased: bool,
        items: Vec<i32>,
        quantities: Vec<i32>,
    }
}

const FIND: &str = r"
    SELECT a.user_id, l.items, l.quantities,
           EXISTS (SELECT FROM purchases WHERE sale_id = $1 AND attempt_id = $2) AS purchased
    FROM checkout_attempts AS a
    CROSS JOIN (
        SELECT coalesce(array_agg(item_no ORDER BY added_at, item_no), '{}') AS items,
               coalesce(array_agg(quantity ORDER BY added_at, item_no), '{}') AS quantities
        FROM checkout_items
        WHERE sale_id = $1 AND attempt_id = $2
    ) AS l
    WHERE a.sale_id = $1 AND a.id = $2
";

/// The checkout behind an attempt.
pub(crate) async fn found_checkout(
    database: &Database,
    sale: SaleId,
    attempt: AttemptId,
) -> Result<Option<FoundCheckout>, PortError> {
    let read = || async {
        let query = sqlx::query_as(FIND).bind(sale.get()).bind(attempt.get());
        query.fetch_optional(database.pool()).await
    };
    let found: Option<FoundRow> = database.read(CollectBatch::WHAT, read).await?;
    let Some(FoundRow { user_id, purchased, items, quantities }) = found else {
        return Ok(None);
    };
    let lines = items.into_iter().zip(quantities).filter_map(|(item, pieces)| line(item, pieces));
    let buyer =
        BuyerId::parse(&user_id).map_err(|_| DatabaseError::Unreadable("checkout_attempts"));
    let buyer = buyer.map_err(|error| error.into_port_error(CollectBatch::WHAT))?;
    Ok(Some(FoundCheckout { buyer, lines: lines.collect(), purchased }))
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
