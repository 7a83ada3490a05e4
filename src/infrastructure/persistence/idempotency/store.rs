//! The idempotency store in PostgreSQL: look-ups share statements, and old keys are deleted.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::look_ups::{KeyLookUps, LookUp, WHAT};
use crate::application::ports::{Caller, Done, IdempotencyStore, Keyed, KeyedRequest, PortError};
use crate::config::Setting;
use crate::domain::ids::BuyerId;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, Batcher};
use crate::infrastructure::persistence::batch::splitting::rejected;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;

/// Maximum number of keys that one statement deletes.
const STEP: i64 = 5_000;
/// Maximum number of statements of one pruning.
const STEPS: usize = 20;

/// Looks keys up, and deletes old ones.
pub(crate) struct PostgresIdempotencyStore {
    database: Database,
    keep: Setting<Duration>,
    batcher: Batcher<KeyLookUps>,
}

macro_rules! prune {
    ($table:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            r"
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM ",
            $table,
            r"
        WHERE created_at < clock_timestamp() - make_interval(secs => $1)
        ORDER BY created_at
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
"
        )
    };
}

/// Keys of buyers.
pub(crate) const PRUNE: &str = prune!("idempotency_keys");
/// Keys of operators, which are kept as long.
pub(crate) const PRUNE_OPERATORS: &str = prune!("operator_requests");

impl PostgresIdempotencyStore {
    /// Keeps keys for `keep`.
    pub(crate) fn new(
        database: Database,
        keep: Setting<Duration>,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let work = KeyLookUps::new(database.clone());
        Self { database, keep, batcher: Batcher::new("keys", work, limits, metrics, scope) }
    }
}

#[async_trait]
impl IdempotencyStore for PostgresIdempotencyStore {
    async fn find(
        &self,
        caller: Caller,
        request: KeyedRequest,
    ) -> Result<Keyed<BuyerId, Done>, PortError> {
        let look_up = LookUp::new(caller, request);
        match self.batcher.submit(look_up.group(), look_up).await {
            Ok(reply) => reply,
            Err(reason) => Err(rejected(WHAT, reason)),
        }
    }

    async fn prune(&self) -> Result<u64, PortError> {
        Ok(self.prune_with(PRUNE).await? + self.prune_with(PRUNE_OPERATORS).await?)
    }
}

impl PostgresIdempotencyStore {
    async fn prune_with(&self, statement: &'static str) -> Result<u64, PortError> {
        let mut pruned = 0;
        for _ in 0..STEPS {
            let delete = async {
                let mut connection = self.database.acquire().await?;
                let query = sqlx::query(statement).bind(self.keep.get().as_secs_f64()).bind(STEP);
                let query = query.execute(&mut *connection);
                self.database.time(Statement::PruneKeys, query).await
            };
            let deleted = self.database.within(self.database.answer_timeout(), delete).await;
            let deleted = deleted.map_err(|error| error.into_port_error(WHAT))?.rows_affected();
            pruned += deleted;
            if deleted < STEP.unsigned_abs() {
                break;
            }
        }
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::idempotency_store::idempotency_store_contract;
    use crate::testing::servers::PostgresShop;

    idempotency_store_contract!(PostgresShop::open().await);
}
