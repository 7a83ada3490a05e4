//! The idempotency store in PostgreSQL: look-ups share statements, and old keys are deleted.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rows::digest;
use crate::application::ports::{
    Caller, Done, Effect, IdempotencyStore, Keyed, KeyedRequest, PortError,
};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, BatchWork, Batcher};
use crate::infrastructure::persistence::batch::lines::line;
use crate::infrastructure::persistence::batch::splitting::rejected;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::row::from_row;

const WHAT: &str = "the idempotency key";
/// Maximum number of keys that one statement deletes.
const STEP: i64 = 5_000;
/// Maximum number of statements of one pruning.
const STEPS: usize = 20;

/// Looks keys up, and deletes old ones.
pub(crate) struct PostgresIdempotencyStore {
    database: Database,
    keep: Duration,
    batcher: Batcher<LookUps>,
}

struct LookUps {
    database: Database,
}

/// A key to look up.
struct LookUp {
    caller: Caller,
    request: KeyedRequest,
}

from_row! {
    #[derive(Debug)]
    struct FoundRow {
        place: i64,
        /// The caller; `None` if the checkout does not exist.
        user_id: Option<String>,
        content: Option<Vec<u8>>,
        sale_id: Option<i64>,
        attempt_id: Option<i64>,
        created: Option<bool>,
        item_nos: Option<Vec<i32>>,
        quantities: Option<Vec<i32>>,
    }
}

const FIND: &str = r"
    SELECT t.place, c.user_id, k.content, k.sale_id, k.attempt_id, k.created, k.item_nos, k.quantities
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
        AS t(place, user_id, sale_id, attempt_id, key)
    LEFT JOIN LATERAL (
        SELECT user_id FROM checkout_attempts
        WHERE sale_id = t.sale_id AND id = t.attempt_id
        OFFSET 0
    ) AS a ON true
    CROSS JOIN LATERAL (SELECT coalesce(t.user_id, a.user_id) AS user_id OFFSET 0) AS c
    LEFT JOIN LATERAL (
        SELECT * FROM idempotency_keys
        WHERE user_id = c.user_id AND key = t.key
        OFFSET 0
    ) AS k ON true
";

const PRUNE: &str = r"
    DELETE FROM idempotency_keys
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency_keys
        WHERE created_at < clock_timestamp() - make_interval(secs => $1)
        ORDER BY created_at
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
";

impl PostgresIdempotencyStore {
    /// Keeps keys for `keep`.
    pub(crate) fn new(
        database: Database,
        keep: Duration,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let work = LookUps { database: database.clone() };
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
        match self.batcher.submit((), LookUp { caller, request }).await {
            Ok(reply) => reply,
            Err(reason) => Err(rejected(WHAT, reason)),
        }
    }

    async fn prune(&self) -> Result<u64, PortError> {
        let mut pruned = 0;
        for _ in 0..STEPS {
            let delete = async {
                let mut connection = self.database.acquire().await?;
                let query = sqlx::query(PRUNE).bind(self.keep.as_secs_f64()).bind(STEP);
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

#[async_trait]
impl BatchWork for LookUps {
    type Key = ();
    type Request = LookUp;
    type Reply = Result<Keyed<BuyerId, Done>, PortError>;
    type WriterState = ();

    async fn serve(&self, (): &mut (), (): (), look_ups: Vec<LookUp>) -> Vec<Self::Reply> {
        let read = || self.find(&look_ups);
        let rows = match self.database.read_as(Statement::ReadKeys, WHAT, read).await {
            Ok(rows) => rows,
            Err(error) => return failures(look_ups.len(), &error),
        };
        let mut rows: HashMap<i64, FoundRow> =
            rows.into_iter().map(|row| (row.place, row)).collect();
        let answers = look_ups.iter().zip(0..).map(|(look_up, index)| {
            let row = rows.remove(&index).ok_or(DatabaseError::Unreadable("idempotency_keys"));
            let answer = row.and_then(|row| row.answer(&look_up.request));
            answer.map_err(|error| self.database.record(error).into_port_error(WHAT))
        });
        answers.collect()
    }
}

impl LookUps {
    async fn find(&self, look_ups: &[LookUp]) -> Result<Vec<FoundRow>, sqlx::Error> {
        let indexes: Vec<i64> = (0..).take(look_ups.len()).collect();
        let keys: Vec<&str> = look_ups.iter().map(|look_up| look_up.request.key.as_str()).collect();
        let (mut users, mut sales, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
        for look_up in look_ups {
            let (user, sale, attempt) = match &look_up.caller {
                Caller::Buyer(buyer) => (Some(buyer.as_str()), None, None),
                Caller::HolderOf(sale, attempt) => (None, Some(sale.get()), Some(attempt.get())),
            };
            users.push(user);
            sales.push(sale);
            attempts.push(attempt);
        }
        let query = sqlx::query_as(FIND).bind(indexes).bind(users).bind(sales).bind(attempts);
        query.bind(keys).fetch_all(self.database.pool()).await
    }
}

impl FoundRow {
    fn answer(self, request: &KeyedRequest) -> Result<Keyed<BuyerId, Done>, DatabaseError> {
        let unreadable = || DatabaseError::Unreadable("idempotency_keys");
        let Some(user) = self.user_id else {
            return Ok(Keyed::UnknownCode);
        };
        let buyer = BuyerId::parse(&user).map_err(|_| unreadable())?;
        let Some(content) = self.content else {
            return Ok(Keyed::New(buyer));
        };
        if content != digest(&request.content) {
            return Ok(Keyed::ContentMismatch);
        }
        let effect = match (self.item_nos, self.quantities) {
            (Some(items), Some(quantities)) => {
                let lines = items.into_iter().zip(quantities);
                let lines =
                    lines.map(|(item, quantity)| line(item, quantity).ok_or_else(unreadable));
                let created = self.created.unwrap_or_default();
                Effect::Changed { created, lines: lines.collect::<Result<_, _>>()? }
            }
            _ => Effect::Purchased,
        };
        Ok(Keyed::Replayed(Done {
            buyer,
            sale: self.sale_id.and_then(SaleId::new).ok_or_else(unreadable)?,
            attempt: self.attempt_id.and_then(AttemptId::new).ok_or_else(unreadable)?,
            effect,
        }))
    }
}

/// The same error for each caller.
fn failures(callers: usize, error: &PortError) -> Vec<Result<Keyed<BuyerId, Done>, PortError>> {
    let text = error.to_string();
    let failure = |_| Err(PortError::Unavailable { what: WHAT, source: text.clone().into() });
    (0..callers).map(failure).collect()
}

/// The answer to a request with a key, from its reply in a batch. For a key that was used before, looks up what it was used for.
pub(crate) async fn keyed_answer<T>(
    database: &Database,
    look_up: (Caller, KeyedRequest),
    reply: Option<T>,
) -> Result<Keyed<T, Done>, PortError> {
    if let Some(reply) = reply {
        return Ok(Keyed::New(reply));
    }
    let (caller, request) = look_up;
    let look_ups = LookUps { database: database.clone() };
    let mut answers = look_ups.serve(&mut (), (), vec![LookUp { caller, request }]).await;
    match answers.pop().transpose()?.map(Keyed::into_new) {
        Some(Err(known)) => Ok(known),
        // The request that used the key, in the same batch, was refused.
        Some(Ok(_)) | None => Ok(Keyed::InProgress),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::idempotency_store::idempotency_store_contract;
    use crate::testing::servers::PostgresShop;

    idempotency_store_contract!(PostgresShop::open().await);
}
