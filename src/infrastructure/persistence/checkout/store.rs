//! The checkout book at PostgreSQL: checkouts share transactions, each caller waits for its own answer.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::CollectBatch;
use crate::application::ports::{CheckoutBook, Collect, Collected, FoundCheckout, PortError};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher};
use crate::infrastructure::persistence::batch::lines::line;
use crate::infrastructure::persistence::batch::splitting::{
    BatchTransaction, Splitting, not_served,
};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;

/// Collects in batches.
pub(crate) struct PostgresCheckoutBook {
    database: Database,
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
        let work = Splitting { database: database.clone(), transaction, retries };
        Self { database, batcher: Batcher::new("checkout", work, limits, metrics, scope) }
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

    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError> {
        found_checkout(&self.database, sale, attempt).await
    }
}

/// An attempt with its lines, in one row.
#[derive(Debug, sqlx::FromRow)]
struct FoundRow {
    user_id: String,
    purchased: bool,
    items: Vec<i32>,
    quantities: Vec<i32>,
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
