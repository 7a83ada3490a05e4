//! Finds what a failover has lost: checkouts and purchases that this instance acknowledged, and that the new history lacks.
//!
//! It looks for the latest ones that it remembers, which are those that an asynchronous standby can have missed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::application::ports::PortError;
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};

/// Returns what was written to `lost_writes`: whether each is a purchase.
const RECORD: &str = r"
    INSERT INTO lost_writes (epoch, sale_id, attempt_id, purchased)
    SELECT (SELECT max(number) FROM epochs), t.sale_id, t.attempt_id, t.purchased
    FROM unnest($1::bigint[], $2::bigint[], $3::bool[]) AS t(sale_id, attempt_id, purchased)
    CROSS JOIN LATERAL (
        SELECT NOT EXISTS (
            SELECT FROM checkout_attempts WHERE sale_id = t.sale_id AND id = t.attempt_id OFFSET 0
        ) AS attempt, NOT EXISTS (
            SELECT FROM purchases WHERE sale_id = t.sale_id AND attempt_id = t.attempt_id OFFSET 0
        ) AS outcome
    ) AS missing
    WHERE missing.attempt OR t.purchased AND missing.outcome
    ON CONFLICT (epoch, sale_id, attempt_id) DO UPDATE SET purchased = lost_writes.purchased OR EXCLUDED.purchased
    RETURNING purchased
";

/// A checkout or a purchase that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) sale: SaleId,
    pub(crate) attempt: AttemptId,
    pub(crate) is_purchased: bool,
}

/// What is to be looked for.
#[derive(Debug, Default)]
pub(crate) struct LostWrites {
    suspects: Mutex<Vec<Acknowledged>>,
    arrived: Notify,
}

impl LostWrites {
    /// Takes what was acknowledged in a history that has ended.
    pub(crate) fn suspect(&self, acknowledged: impl IntoIterator<Item = Acknowledged>) {
        self.suspects().extend(acknowledged);
        self.arrived.notify_one();
    }

    /// Returns when there is something to look for.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Records which of them the database lacks, and logs how many.
    pub(crate) async fn record(&self, database: &Database) -> Result<(), PortError> {
        let suspects = self.suspects().clone();
        if suspects.is_empty() {
            return Ok(());
        }
        let record = |mut tx: Tx| {
            let sales: Vec<i64> = suspects.iter().map(|one| one.sale.get()).collect();
            let attempts: Vec<i64> = suspects.iter().map(|one| one.attempt.get()).collect();
            let purchased: Vec<bool> = suspects.iter().map(|one| one.is_purchased).collect();
            async move {
                let query = sqlx::query_scalar(RECORD).bind(sales).bind(attempts).bind(purchased);
                let lost: Vec<bool> = query.fetch_all(&mut *tx).await?;
                Ok((tx, lost))
            }
        };
        let lost = database.transaction(Options::WRITE, record).await;
        let lost = lost.map_err(|error| error.into_port_error("the lost writes"))?;
        // Those that arrived meanwhile are behind them.
        self.suspects().drain(..suspects.len());
        let purchases = lost.iter().filter(|is_purchased| **is_purchased).count();
        if lost.is_empty() {
            tracing::info!(
                looked_for = suspects.len(),
                "nothing that this instance remembers is lost"
            );
        } else {
            tracing::error!(
                purchases,
                checkouts = lost.len() - purchases,
                looked_for = suspects.len(),
                "postgresql has lost what this instance acknowledged: `flash-sale verify` lists it"
            );
        }
        Ok(())
    }

    fn suspects(&self) -> MutexGuard<'_, Vec<Acknowledged>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{attempt_id, sale_id};
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    #[tokio::test]
    async fn what_the_new_history_lacks_is_recorded() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(3)).await;
        let kept = scene.added("ann", 1, 1).await.attempt;
        let (database, lost) = (shop.database().await, LostWrites::default());
        let one = |attempt, is_purchased| Acknowledged { sale: scene.sale, attempt, is_purchased };

        lost.suspect([one(kept, false), one(kept, true), one(attempt_id(99), false)]);
        let elsewhere = Acknowledged { sale: sale_id(500), ..one(kept, false) };
        lost.suspect([elsewhere]);
        lost.record(&database).await.unwrap();
        lost.record(&database).await.unwrap();

        let found = "SELECT sale_id, attempt_id, purchased FROM lost_writes ORDER BY 1, 2";
        let found: Vec<(i64, i64, bool)> =
            sqlx::query_as(found).fetch_all(&shop.pool).await.unwrap();
        let sale = scene.sale.get();
        let expected = [(sale, 99, false), (sale, kept.get(), true), (500, kept.get(), false)];
        assert_eq!(found.len(), 3);
        assert!(expected.iter().all(|one| found.contains(one)), "{found:?}");
    }
}
