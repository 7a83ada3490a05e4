//! The transaction behind every purchase: a batch of attempts of one sale, decided and stored together.
//!
//! 1. Lock the buyers' rows, by the bytes of their ids.
//! 2. In later statements, because the first may have waited: read stored outcomes and baskets; lock the wanted items that
//!    are not sold out, by number; read the clock once all locks are held.
//! 3. Let [`settle`] decide.
//! 4. Write with conditions. Fewer rows than decided means that the decision was made on something else than the rows:
//!    roll back and decide again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::batches::BatchTransaction;
use super::database::Database;
use super::error::DatabaseError;
use super::metrics::Statement;
use super::settle_rows::{Decided, LockedBuyer, LockedItems};
use super::transaction::Options;
use super::{baskets, outcomes};
use crate::application::ports::{Decision, Settled, StockFacts};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{SaleState, SaleWindow};
use crate::domain::settlement::{Allowance, Request, Settlement, settle};

/// Attempts are looked up before the lock because they never change.
const LOCK_BUYERS: &str = r#"
    SELECT a.attempt_id, b.user_id, b.place, b.open_attempt, b.bought, b.buyer_limit
    FROM (
        SELECT t.attempt_id, c.user_id
        FROM unnest($2::bigint[]) AS t(attempt_id)
        CROSS JOIN LATERAL (
            SELECT user_id FROM checkout_attempts
            WHERE sale_id = $1 AND id = t.attempt_id
            OFFSET 0
        ) AS c
        ORDER BY c.user_id COLLATE "C"
        OFFSET 0
    ) AS a
    CROSS JOIN LATERAL (
        SELECT user_id, ctid::text AS place, open_attempt, bought, buyer_limit FROM buyers
        WHERE sale_id = $1 AND user_id = a.user_id
        OFFSET 0
        FOR NO KEY UPDATE
    ) AS b
"#;

/// The aggregate is complete, and so all locks are held, before the outer row reads the clock.
const LOCK_ITEMS: &str = r"
    WITH locked AS MATERIALIZED (
        SELECT i.item_no, i.place, i.stock, i.sold
        FROM unnest($2::int[]) AS t(item_no)
        CROSS JOIN LATERAL (
            SELECT item_no, ctid::text AS place, stock, sold FROM item_stock
            WHERE sale_id = $1 AND item_no = t.item_no AND sold < stock
            OFFSET 0
            FOR NO KEY UPDATE
        ) AS i
    )
    SELECT s.starts_at, s.ends_at, s.generation, clock_timestamp() AS now,
           l.items, l.places, l.stock, l.sold
    FROM (
        SELECT coalesce(array_agg(item_no), '{}') AS items,
               coalesce(array_agg(place), '{}') AS places,
               coalesce(array_agg(stock), '{}') AS stock,
               coalesce(array_agg(sold), '{}') AS sold
        FROM locked
    ) AS l
    CROSS JOIN sales AS s
    WHERE s.id = $1
";

const WRITE: &str = r"
    WITH stock AS (
        UPDATE item_stock AS i
        SET sold = i.sold + t.pieces
        FROM unnest($2::text[], $3::int[], $4::int[]) AS t(place, item_no, pieces)
        WHERE i.sale_id = $1 AND i.ctid = t.place::tid AND i.item_no = t.item_no
          AND i.sold + t.pieces <= i.stock
        RETURNING 1
    ), buyer AS (
        UPDATE buyers AS b
        SET bought = b.bought + t.pieces,
            open_attempt = CASE WHEN b.open_attempt = t.closes THEN NULL ELSE b.open_attempt END
        FROM unnest($5::text[], $6::text[], $7::int[], $8::bigint[])
            AS t(place, user_id, pieces, closes)
        WHERE b.sale_id = $1 AND b.ctid = t.place::tid AND b.user_id = t.user_id
          AND b.bought + t.pieces <= b.buyer_limit
        RETURNING 1
    ), outcome AS (
        INSERT INTO purchases
            (sale_id, attempt_id, user_id, purchased_at, total_purchased, failed_count)
        SELECT $1, t.attempt_id, t.user_id, $13, t.total, t.failed
        FROM unnest($9::bigint[], $10::text[], $11::int[], $12::int[])
            AS t(attempt_id, user_id, total, failed)
    ), line AS (
        INSERT INTO purchase_items (sale_id, attempt_id, item_no, quantity, outcome)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, t.outcome
        FROM unnest($14::bigint[], $15::int[], $16::int[], $17::text[])
            AS t(attempt_id, item_no, quantity, outcome)
    )
    SELECT (SELECT count(*) FROM stock), (SELECT count(*) FROM buyer)
";

/// Settles attempts, many in a transaction.
pub(super) struct SettleBatch {
    database: Database,
}

#[async_trait]
impl BatchTransaction for SettleBatch {
    type Request = AttemptId;
    type Reply = Settled;
    const WHAT: &'static str = "the purchase";

    async fn run(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<Vec<Settled>, DatabaseError> {
        self.database
            .transaction(Options::WRITE, |mut tx| async move {
                let settled = self.settle(&mut tx, sale, attempts).await?;
                Ok((tx, settled))
            })
            .await
    }
}

impl SettleBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    async fn settle(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<Vec<Settled>, DatabaseError> {
        let buyers = self.lock_buyers(connection, sale, attempts).await?;
        let mut replies = self.stored(connection, sale, &buyers).await?;
        let mut seen = BTreeSet::new();
        let undecided: Vec<&LockedBuyer> = attempts
            .iter()
            .filter(|attempt| !replies.contains_key(attempt) && seen.insert(**attempt))
            .filter_map(|attempt| buyers.get(attempt))
            .collect();
        if !undecided.is_empty() {
            replies.extend(self.decide(connection, sale, &undecided).await?);
        }
        Ok(attempts.iter().map(|attempt| reply_to(*attempt, &mut replies)).collect())
    }

    async fn lock_buyers(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<HashMap<AttemptId, LockedBuyer>, DatabaseError> {
        let numbers: BTreeSet<i64> = attempts.iter().map(|attempt| attempt.get()).collect();
        let numbers: Vec<i64> = numbers.into_iter().collect();
        let query = sqlx::query_as(LOCK_BUYERS).bind(sale.get()).bind(numbers);
        let rows: Vec<LockedBuyer> =
            self.database.time(Statement::LockBuyers, query.fetch_all(connection)).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| Some((AttemptId::new(row.attempt_id)?, row)))
            .collect())
    }

    /// Outcomes of attempts that are not open any more.
    async fn stored(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        buyers: &HashMap<AttemptId, LockedBuyer>,
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let closed: Vec<i64> = buyers
            .values()
            .filter(|buyer| buyer.open_attempt != Some(buyer.attempt_id))
            .map(|buyer| buyer.attempt_id)
            .collect();
        if closed.is_empty() {
            return Ok(HashMap::new());
        }
        let stored = outcomes::stored(connection, sale, &closed);
        let stored = self.database.time(Statement::ReadOutcomes, stored).await?;
        Ok(stored
            .into_iter()
            .map(|stored| (stored.attempt, Settled::Before(Arc::new(stored.outcome))))
            .collect())
    }

    async fn decide(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        buyers: &[&LockedBuyer],
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let numbers: Vec<i64> = buyers.iter().map(|buyer| buyer.attempt_id).collect();
        let baskets = baskets::read(connection, sale, &numbers);
        let mut baskets = self.database.time(Statement::ReadBaskets, baskets).await?;
        let wanted: BTreeSet<i32> = baskets.values().flatten().map(|line| line.item.0).collect();
        let wanted: Vec<i32> = wanted.into_iter().collect();
        let query = sqlx::query_as(LOCK_ITEMS).bind(sale.get()).bind(wanted);
        let items: LockedItems =
            self.database.time(Statement::LockItems, query.fetch_one(&mut *connection)).await?;

        let window = SaleWindow::new(items.starts_at, items.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        let closed = match window.state_at(items.now) {
            SaleState::Open => None,
            SaleState::Upcoming => Some(Settled::NotStarted),
            SaleState::Ended => Some(Settled::Ended),
        };
        if let Some(closed) = closed {
            let replies = numbers.into_iter().filter_map(AttemptId::new);
            return Ok(replies.map(|attempt| (attempt, closed.clone())).collect());
        }

        let requests: Vec<Request> = buyers
            .iter()
            .map(|buyer| request(buyer, baskets.remove(&buyer.attempt_id).unwrap_or_default()))
            .collect::<Option<_>>()
            .ok_or(DatabaseError::Unreadable("buyers"))?;
        let on_shelf = items.on_shelf().map(|(item, left)| (ItemNo(item), left)).collect();
        let allowances = buyers.iter().zip(&requests).map(|(buyer, request)| {
            let allowance = Allowance { bought: buyer.bought, limit: buyer.buyer_limit };
            (request.buyer.clone(), allowance)
        });
        let settlement = settle(on_shelf, allowances.collect(), &requests);
        self.write(
            connection,
            sale,
            &Decided { buyers, requests: &requests, items: &items, settlement: &settlement },
        )
        .await?;
        Ok(replies(buyers, &requests, &items, settlement))
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        decided: &Decided<'_>,
    ) -> Result<(), DatabaseError> {
        let stock = decided.stock();
        let buyers = decided.buyers();
        let outcomes = decided.outcomes();
        let lines = decided.lines();
        let query = sqlx::query_as::<_, (i64, i64)>(WRITE)
            .bind(sale.get())
            .bind(&stock.places)
            .bind(&stock.items)
            .bind(&stock.pieces)
            .bind(&buyers.places)
            .bind(&buyers.users)
            .bind(&buyers.pieces)
            .bind(&buyers.closes)
            .bind(&outcomes.attempts)
            .bind(&outcomes.users)
            .bind(&outcomes.totals)
            .bind(&outcomes.failed)
            .bind(decided.items.now)
            .bind(&lines.attempts)
            .bind(&lines.items)
            .bind(&lines.quantities)
            .bind(&lines.fates);
        let (stock_rows, buyer_rows) =
            self.database.time(Statement::WritePurchases, query.fetch_one(connection)).await?;
        if usize::try_from(stock_rows) != Ok(stock.items.len()) {
            return Err(self.database.note(DatabaseError::Raced("item_stock")));
        }
        if usize::try_from(buyer_rows) != Ok(buyers.users.len()) {
            return Err(self.database.note(DatabaseError::Raced("buyers")));
        }
        Ok(())
    }
}

fn request(buyer: &LockedBuyer, lines: Vec<crate::domain::checkout::Line>) -> Option<Request> {
    Some(Request {
        attempt: AttemptId::new(buyer.attempt_id)?,
        buyer: BuyerId::parse(&buyer.user_id).ok()?,
        lines,
    })
}

fn replies(
    buyers: &[&LockedBuyer],
    requests: &[Request],
    items: &LockedItems,
    mut settlement: Settlement,
) -> HashMap<AttemptId, Settled> {
    let sold_now: HashMap<i32, (i32, i32)> = items
        .items
        .iter()
        .zip(items.stock.iter().zip(&items.sold))
        .map(|(item, (stock, sold))| {
            let now = settlement.sold.get(&ItemNo(*item)).copied().unwrap_or(0);
            (*item, (*stock, sold + now))
        })
        .collect();
    let mut replies = HashMap::with_capacity(requests.len());
    for (locked, request) in buyers.iter().zip(requests) {
        let lines = settlement.decided.remove(&request.attempt).unwrap_or_default();
        let mut facts = StockFacts { generation: items.generation, ..StockFacts::default() };
        for settled in &lines {
            let item = settled.line.item;
            match sold_now.get(&item.0) {
                // It was not locked, because it had no piece left.
                None => facts.sold_out.push(item),
                Some((stock, sold)) => {
                    facts.sold.push((item, *sold));
                    if sold == stock {
                        facts.sold_out.push(item);
                    }
                }
            }
        }
        let bought = settlement.bought.get(&request.buyer).copied().unwrap_or(0);
        let settled = Settled::Now(Decision {
            outcome: Arc::new(Outcome {
                buyer: request.buyer.clone(),
                purchased_at: items.now,
                lines,
            }),
            facts,
            version: items.now.timestamp_micros(),
            bought: locked.bought + bought,
        });
        replies.insert(request.attempt, settled);
    }
    replies
}

/// The first caller of an attempt gets the decision, others in the same batch the stored outcome.
fn reply_to(attempt: AttemptId, replies: &mut HashMap<AttemptId, Settled>) -> Settled {
    let Some(reply) = replies.get_mut(&attempt) else {
        return Settled::Unknown;
    };
    match reply {
        Settled::Now(decision) => {
            let repeat = Settled::Before(Arc::clone(&decision.outcome));
            std::mem::replace(reply, repeat)
        }
        other => other.clone(),
    }
}
