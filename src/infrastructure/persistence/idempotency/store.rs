//! The book of idempotency keys at PostgreSQL: look-ups share statements, and old keys go.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rows::digest;
use crate::application::ports::{Caller, Done, Effect, KeyBook, KeyState, KeyUse, PortError};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, BatchWork, Batcher};
use crate::infrastructure::persistence::batch::lines::line;
use crate::infrastructure::persistence::batch::splitting::not_served;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::pool::metrics::Statement;

const WHAT: &str = "the idempotency key";
/// Keys that one statement deletes.
const STEP: i64 = 5_000;
/// Statements of one pruning.
const STEPS: usize = 20;

/// Finds keys, and forgets them.
pub(crate) struct PostgresKeyBook {
    database: Database,
    keep: Duration,
    batcher: Batcher<LookUps>,
}

struct LookUps {
    database: Database,
}

/// A key that is looked for.
struct Wanted {
    caller: Caller,
    key: KeyUse,
}

#[derive(Debug, sqlx::FromRow)]
struct KeyRow {
    place: i64,
    /// The caller, if there is one.
    user_id: Option<String>,
    content: Option<Vec<u8>>,
    sale_id: Option<i64>,
    attempt_id: Option<i64>,
    created: Option<bool>,
    item_nos: Option<Vec<i32>>,
    quantities: Option<Vec<i32>>,
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

impl PostgresKeyBook {
    /// Keys are kept for `keep`.
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
impl KeyBook for PostgresKeyBook {
    async fn find(&self, caller: Caller, wanted: KeyUse) -> Result<KeyState, PortError> {
        match self.batcher.submit((), Wanted { caller, key: wanted }).await {
            Ok(reply) => reply,
            Err(reason) => Err(not_served(WHAT, reason)),
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
            let deleted = self.database.within(self.database.patience(), delete).await;
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
    type Request = Wanted;
    type Reply = Result<KeyState, PortError>;
    type Desk = ();

    async fn serve(&self, (): &mut (), (): (), wanted: Vec<Wanted>) -> Vec<Self::Reply> {
        let read = || self.find(&wanted);
        let rows = match self.database.read_as(Statement::ReadKeys, WHAT, read).await {
            Ok(rows) => rows,
            Err(error) => return failed(wanted.len(), &error),
        };
        let mut rows: HashMap<i64, KeyRow> = rows.into_iter().map(|row| (row.place, row)).collect();
        let states = wanted.iter().zip(0..).map(|(wanted, place)| {
            let row = rows.remove(&place).ok_or(DatabaseError::Unreadable("idempotency_keys"));
            let state = row.and_then(|row| row.state(wanted));
            state.map_err(|error| self.database.note(error).into_port_error(WHAT))
        });
        states.collect()
    }
}

impl LookUps {
    async fn find(&self, wanted: &[Wanted]) -> Result<Vec<KeyRow>, sqlx::Error> {
        let places: Vec<i64> = (0..).take(wanted.len()).collect();
        let keys: Vec<&str> = wanted.iter().map(|wanted| wanted.key.key.as_str()).collect();
        let (mut users, mut sales, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
        for wanted in wanted {
            let (user, sale, attempt) = match &wanted.caller {
                Caller::Buyer(buyer) => (Some(buyer.as_str()), None, None),
                Caller::HolderOf(sale, attempt) => (None, Some(sale.get()), Some(attempt.get())),
            };
            users.push(user);
            sales.push(sale);
            attempts.push(attempt);
        }
        let query = sqlx::query_as(FIND).bind(places).bind(users).bind(sales).bind(attempts);
        query.bind(keys).fetch_all(self.database.pool()).await
    }
}

impl KeyRow {
    fn state(self, wanted: &Wanted) -> Result<KeyState, DatabaseError> {
        let unreadable = || DatabaseError::Unreadable("idempotency_keys");
        let Some(user) = self.user_id else {
            return Ok(KeyState::NoCaller);
        };
        let buyer = BuyerId::parse(&user).map_err(|_| unreadable())?;
        let Some(content) = self.content else {
            return Ok(KeyState::Unused(buyer));
        };
        if content != digest(&wanted.key.content) {
            return Ok(KeyState::OtherContent);
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
        Ok(KeyState::Done(Done {
            buyer,
            sale: self.sale_id.and_then(SaleId::new).ok_or_else(unreadable)?,
            attempt: self.attempt_id.and_then(AttemptId::new).ok_or_else(unreadable)?,
            effect,
        }))
    }
}

/// The same for everybody.
fn failed(callers: usize, error: &PortError) -> Vec<Result<KeyState, PortError>> {
    let text = error.to_string();
    let again = |_| Err(PortError::Unavailable { what: WHAT, source: text.clone().into() });
    (0..callers).map(again).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::contracts::key_book::key_book_contract;
    use crate::testing::servers::PostgresShop;

    key_book_contract!(PostgresShop::open().await);
}
