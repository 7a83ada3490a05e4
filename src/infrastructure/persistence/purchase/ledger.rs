//! The ledger in PostgreSQL: purchases share transactions, and each caller waits for its own outcome.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::SettleBatch;
use super::outcome_reader::{self, OutcomeReader};
use crate::application::ports::{
    Caller, Done, Keyed, KeyedRequest, Ledger, PortError, Settle, Settled,
};
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::purchase::Outcome;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher, PURCHASE};
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::recent_writes::RecentWrites;
use crate::infrastructure::persistence::batch::splitting::{Retries, Splitting, rejected};
use crate::infrastructure::persistence::batch::transaction::BatchTransaction;
use crate::infrastructure::persistence::idempotency::look_ups::KeyLookUps;
use crate::infrastructure::persistence::idempotency::request::{MaybeKeyed, unkeyed_answer};

/// Settles attempts in batches.
pub(crate) struct PostgresLedger {
    keys: KeyLookUps,
    recent_writes: Arc<RecentWrites>,
    batcher: Batcher<Splitting<SettleBatch>>,
    outcomes: Batcher<OutcomeReader>,
}

impl PostgresLedger {
    /// `limits` should allow one writer for each sale: two batches nearly always sell the same item.
    pub(crate) fn new(
        context: BatchContext,
        limits: BatchLimits,
        retries: Retries,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let keys = KeyLookUps::new(context.database.clone());
        let reader = OutcomeReader::new(context.database.clone());
        let recent_writes = Arc::clone(&context.recent_writes);
        let transaction = SettleBatch::new(context.clone());
        let work = Splitting { context, transaction, retries };
        Self {
            keys,
            recent_writes,
            batcher: Batcher::new(PURCHASE, work, limits, metrics, scope.clone()),
            outcomes: Batcher::new("outcome", reader, limits, metrics, scope),
        }
    }

    async fn submit(&self, request: MaybeKeyed<Settle>) -> Result<Option<Settled>, PortError> {
        let Settle { sale, attempt, .. } = request.request;
        match self.batcher.submit(sale, request).await {
            Ok(reply) => {
                if let Ok(Some(Settled::Now(_))) = reply {
                    self.recent_writes.remember_purchase(sale, attempt);
                }
                reply
            }
            Err(reason) => Err(rejected(SettleBatch::WHAT, reason)),
        }
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn settle(&self, request: Settle) -> Result<Settled, PortError> {
        unkeyed_answer(SettleBatch::WHAT, self.submit(MaybeKeyed::unkeyed(request)).await?)
    }

    async fn settle_keyed(
        &self,
        request: Settle,
        key: KeyedRequest,
    ) -> Result<Keyed<Settled, Done>, PortError> {
        let caller = Caller::HolderOf(request.sale, request.attempt);
        let reply = self.submit(MaybeKeyed::keyed(request, key.clone())).await?;
        self.keys.keyed_answer((caller, key), reply).await
    }

    async fn outcome(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<Outcome>, PortError> {
        match self.outcomes.submit(sale, attempt).await {
            Ok(outcome) => outcome,
            Err(reason) => Err(rejected(outcome_reader::WHAT, reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use crate::application::ports::{PortError, Settled};
    use crate::domain::ids::ItemNo;
    use crate::testing::builders::settle_of;
    use crate::testing::contracts::ledger::ledger_contract;
    use crate::testing::contracts::{Scene, Terms, eventually};
    use crate::testing::servers::PostgresShop;

    ledger_contract!(PostgresShop::open().await);

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn an_item_acknowledged_while_the_purchase_waits_for_its_buyer_is_in_the_outcome() {
        let shop = PostgresShop::with_lock_timeout(LONG).await;
        let scene = Scene::open(&shop, Terms::unique(2)).await;
        let attempt = scene.attempt("ann", &[(1, 1)]).await;
        let mut checkout = shop.pool.begin().await.unwrap();
        for sql in [
            "UPDATE buyers SET version = version + 1 WHERE sale_id = $1",
            "INSERT INTO checkout_items (sale_id, attempt_id, item_no, quantity, added_at)
             SELECT sale_id, id, 2, 1, clock_timestamp() FROM checkout_attempts WHERE sale_id = $1",
        ] {
            sqlx::query(sql).bind(scene.sale.get()).execute(&mut *checkout).await.unwrap();
        }

        let (decision, ()) = tokio::join!(scene.decided(attempt), async {
            shop.wait_until_blocked().await;
            checkout.commit().await.unwrap();
        });

        let bought: Vec<_> = decision.outcome.sold().map(|settled| settled.line.item).collect();
        assert_eq!(bought, [ItemNo(1), ItemNo(2)]);
        assert_eq!(scene.progress().await.sold, 2);
    }

    #[tokio::test]
    async fn the_window_is_read_after_the_locks_are_held() {
        let shop = PostgresShop::with_lock_timeout(LONG).await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let attempt = scene.attempt("ann", &[(1, 1)]).await;
        let mut holder = shop.pool.begin().await.unwrap();
        let sql = "SELECT FROM buyers WHERE sale_id = $1 FOR NO KEY UPDATE";
        sqlx::query(sql).bind(scene.sale.get()).execute(&mut *holder).await.unwrap();

        let (settled, ()) = tokio::join!(scene.settle(attempt), async {
            shop.wait_until_blocked().await;
            scene.end().await;
            holder.commit().await.unwrap();
        });

        assert_eq!(settled, Settled::Ended);
    }

    #[tokio::test]
    async fn a_row_that_is_locked_for_too_long_fails_its_own_buyer_alone() {
        let shop = PostgresShop::with_lock_timeout(Duration::from_millis(20)).await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let mut attempts = Vec::new();
        for name in ["ann", "bob", "eve", "zoe"] {
            attempts.push(scene.attempt(name, &[(1, 1)]).await);
        }
        let mut holder = shop.pool.begin().await.unwrap();
        let sql = "SELECT FROM buyers WHERE sale_id = $1 AND user_id = 'bob' FOR NO KEY UPDATE";
        sqlx::query(sql).bind(scene.sale.get()).execute(&mut *holder).await.unwrap();
        let ledger = &scene.instance.ledger;

        let settled =
            join_all(attempts.iter().map(|a| ledger.settle(settle_of(scene.sale, *a)))).await;

        let succeeded: Vec<_> = settled.iter().map(Result::is_ok).collect();
        assert_eq!(succeeded, [true, false, true, true]);
        assert!(matches!(settled[1], Err(PortError::Unavailable { .. })));
    }

    #[tokio::test]
    async fn codes_of_a_dropped_sale_are_unknown() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(2)).await;
        let (bought, open) =
            (scene.attempt("ann", &[(1, 1)]).await, scene.attempt("bob", &[(2, 1)]).await);
        scene.decided(bought).await;
        let tables = ["purchases", "checkout_items", "checkout_attempts"];
        for table in tables.into_iter().chain(["buyers", "item_stock", "items"]) {
            shop.execute(&format!("DROP TABLE {table}_from_0")).await;
        }
        shop.execute("DELETE FROM sales").await;

        let settled = [scene.settle(bought).await, scene.settle(open).await];

        assert_eq!(settled, [Settled::Unknown, Settled::Unknown]);
    }

    #[tokio::test]
    async fn an_attempt_that_cannot_be_stored_fails_alone() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let mut attempts = Vec::new();
        for name in ["ann", "bob", "mallory", "zoe"] {
            attempts.push(scene.attempt(name, &[(1, 1)]).await);
        }
        shop.execute(
            "ALTER TABLE purchases ADD CONSTRAINT nothing_for_mallory CHECK (user_id <> 'mallory')",
        )
        .await;
        let ledger = &scene.instance.ledger;

        let settled =
            join_all(attempts.iter().map(|a| ledger.settle(settle_of(scene.sale, *a)))).await;

        let succeeded: Vec<_> = settled.iter().map(Result::is_ok).collect();
        assert_eq!(succeeded, [true, true, false, true]);
        assert_eq!(scene.progress().await.sold, 3);
    }

    #[tokio::test]
    async fn the_request_of_a_caller_that_went_away_is_executed_as_a_whole() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(3)).await;
        let attempt = scene.attempt("ann", &[(1, 1), (2, 1), (3, 1)]).await;

        // Polled once: the request is submitted, then its caller goes away.
        let abandoned = scene.settle(attempt).now_or_never();

        let ledger = &scene.instance.ledger;
        eventually("the outcome is stored", async || {
            ledger.outcome(scene.sale, attempt).await.unwrap().is_some()
        })
        .await;
        assert!(abandoned.is_none());
        assert_eq!(scene.progress().await.sold, 3);
    }
}
