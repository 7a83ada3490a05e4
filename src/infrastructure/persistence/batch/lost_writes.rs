//! Finds what a failover has lost: checkouts and purchases that this instance acknowledged, and that the new history lacks.
//!
//! It looks for the latest ones that it remembers, which are those that an asynchronous standby can have missed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::application::ports::PortError;
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::tx::{Options, Tx};

/// Writes that one statement looks for: it takes a fraction of its time limit, also while buyers come back after the failover.
const AT_A_TIME: usize = 1_000;

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
    suspects: Mutex<VecDeque<Acknowledged>>,
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

    /// Records which of them the database lacks, and logs how many. What was looked for before an error is not looked for again.
    pub(crate) async fn record(&self, database: &Database) -> Result<(), PortError> {
        let mut found = Found::default();
        let recorded = loop {
            let suspects: Vec<_> = self.suspects().iter().take(AT_A_TIME).copied().collect();
            if suspects.is_empty() {
                // What has arrived since then stays: it has been announced.
                self.suspects().shrink_to_fit();
                break Ok(());
            }
            match record(database, &suspects).await {
                Ok(lost) => found.add(suspects.len(), &lost),
                Err(error) => break Err(error),
            }
            // Those that arrived meanwhile are behind them.
            self.suspects().drain(..suspects.len());
        };
        found.log();
        recorded
    }

    fn suspects(&self) -> MutexGuard<'_, VecDeque<Acknowledged>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records which of these the database lacks. Returns of each whether it is a purchase.
async fn record(database: &Database, suspects: &[Acknowledged]) -> Result<Vec<bool>, PortError> {
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
    lost.map_err(|error| error.into_port_error("the lost writes"))
}

/// What was found of those that were looked for.
#[derive(Debug, Default)]
struct Found {
    looked_for: usize,
    purchases: usize,
    checkouts: usize,
}

impl Found {
    fn add(&mut self, looked_for: usize, lost: &[bool]) {
        let purchases = lost.iter().filter(|is_purchased| **is_purchased).count();
        self.looked_for += looked_for;
        self.purchases += purchases;
        self.checkouts += lost.len() - purchases;
    }

    fn log(&self) {
        let Self { looked_for, purchases, checkouts } = *self;
        match (looked_for, purchases + checkouts) {
            (0, _) => {}
            (_, 0) => {
                tracing::info!(looked_for, "nothing that this instance remembers is lost");
            }
            _ => tracing::error!(
                purchases,
                checkouts,
                looked_for,
                "postgresql has lost what this instance acknowledged: `flash-sale verify` lists it"
            ),
        }
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

    #[tokio::test]
    async fn what_was_looked_for_before_an_error_stays_recorded_and_the_rest_follows() {
        let shop = PostgresShop::open().await;
        let (database, lost) = (shop.database().await, LostWrites::default());
        let refused = 2 * AT_A_TIME;
        let suspect = |attempt| attempt_id(i64::try_from(attempt).unwrap());
        let suspects = (1..=refused).map(suspect);
        lost.suspect(suspects.map(|attempt| Acknowledged {
            sale: sale_id(500),
            attempt,
            is_purchased: false,
        }));
        let refuse = format!(
            "ALTER TABLE lost_writes ADD CONSTRAINT refuse CHECK (attempt_id <> {refused})"
        );
        shop.execute(&refuse).await;
        let recorded = async || -> i64 {
            let count = "SELECT count(*) FROM lost_writes";
            sqlx::query_scalar(count).fetch_one(&shop.pool).await.unwrap()
        };

        assert!(lost.record(&database).await.is_err());
        assert_eq!(recorded().await, i64::try_from(AT_A_TIME).unwrap());

        shop.execute("ALTER TABLE lost_writes DROP CONSTRAINT refuse").await;
        lost.record(&database).await.unwrap();
        assert_eq!(recorded().await, i64::try_from(refused).unwrap());
        assert!(lost.suspects().is_empty());
    }
}
