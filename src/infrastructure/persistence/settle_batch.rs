//! The transaction behind every purchase: a batch of attempts of one sale, decided and stored together.
//!
//! 1. Lock the buyers' rows, by the bytes of their ids.
//! 2. In later statements, because the first may have waited: read stored outcomes; read the checkouts' lines and lock the
//!    wanted items that are not sold out, by number; read the clock once all locks are held.
//! 3. Let [`settle`] decide.
//! 4. Write with conditions. Fewer rows than decided means that the decision was made on something else than the rows:
//!    roll back and decide again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::baskets::lines_by_attempt;
use super::batches::BatchTransaction;
use super::database::Database;
use super::error::DatabaseError;
use super::metrics::Statement;
use super::outcomes;
use super::partitions::{Partitions, Statements, sql};
use super::settle_rows::{BuyerRows, Decided, LockedBuyer, LockedItems};
use crate::application::ports::{Decision, Settled, StockFacts};
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{SaleState, SaleWindow};
use crate::domain::settlement::{Allowance, Request, Settlement, settle};

/// Attempts are looked up before the lock because they never change.
const LOCK_BUYERS: &str = r#"
    SELECT coalesce(array_agg(a.attempt_id), '{}') AS attempts,
           coalesce(array_agg(b.user_id), '{}') AS users,
           coalesce(array_agg(b.place), '{}') AS places,
           coalesce(array_agg(b.open_attempt), '{}') AS open,
           coalesce(array_agg(b.bought), '{}') AS bought,
           coalesce(array_agg(b.buyer_limit), '{}') AS limits
    FROM (
        SELECT t.attempt_id, c.user_id
        FROM unnest($2::bigint[]) AS t(attempt_id)
        CROSS JOIN LATERAL (
            SELECT user_id FROM checkout_attempts{of_sale}
            WHERE sale_id = $1 AND id = t.attempt_id
            OFFSET 0
        ) AS c
        ORDER BY c.user_id COLLATE "C"
        OFFSET 0
    ) AS a
    CROSS JOIN LATERAL (
        SELECT user_id, ctid AS place, open_attempt, bought, buyer_limit FROM buyers{of_sale}
        WHERE sale_id = $1 AND user_id = a.user_id
        OFFSET 0
        FOR NO KEY UPDATE
    ) AS b
"#;

/// The aggregate over `locked` is complete, and so all locks are held, before the outer row reads the clock.
const LOCK_ITEMS: &str = r"
    WITH basket AS MATERIALIZED (
        SELECT t.attempt_id, l.item_no, l.quantity
        FROM unnest($2::bigint[]) AS t(attempt_id)
        CROSS JOIN LATERAL (
            SELECT item_no, quantity FROM checkout_items{of_sale}
            WHERE sale_id = $1 AND attempt_id = t.attempt_id
            ORDER BY added_at, item_no
            OFFSET 0
        ) AS l
    ), locked AS MATERIALIZED (
        SELECT i.item_no, i.place, i.stock, i.sold
        FROM (SELECT DISTINCT item_no FROM basket ORDER BY item_no OFFSET 0) AS t
        CROSS JOIN LATERAL (
            SELECT item_no, ctid AS place, stock, sold FROM item_stock{of_sale}
            WHERE sale_id = $1 AND item_no = t.item_no AND sold < stock
            OFFSET 0
            FOR NO KEY UPDATE
        ) AS i
    )
    SELECT s.starts_at, s.ends_at, s.generation, clock_timestamp() AS now,
           l.items, l.places, l.stock, l.sold,
           b.basket_attempts, b.basket_items, b.basket_quantities
    FROM (
        SELECT coalesce(array_agg(item_no), '{}') AS items,
               coalesce(array_agg(place), '{}') AS places,
               coalesce(array_agg(stock), '{}') AS stock,
               coalesce(array_agg(sold), '{}') AS sold
        FROM locked
    ) AS l
    CROSS JOIN (
        SELECT coalesce(array_agg(attempt_id), '{}') AS basket_attempts,
               coalesce(array_agg(item_no), '{}') AS basket_items,
               coalesce(array_agg(quantity), '{}') AS basket_quantities
        FROM basket
    ) AS b
    CROSS JOIN sales AS s
    WHERE s.id = $1
";

const WRITE: &str = r"
    WITH stock AS (
        UPDATE item_stock{of_sale} AS i
        SET sold = i.sold + t.pieces
        FROM unnest($2::tid[], $3::int[], $4::int[]) AS t(place, item_no, pieces)
        WHERE i.ctid = t.place AND i.item_no = t.item_no AND i.sale_id + 0 = $1
          AND i.sold + t.pieces <= i.stock
        RETURNING 1
    ), buyer AS (
        UPDATE buyers{of_sale} AS b
        SET bought = b.bought + t.pieces,
            open_attempt = CASE WHEN b.open_attempt = t.closes THEN NULL ELSE b.open_attempt END
        FROM unnest($5::tid[], $6::text[], $7::int[], $8::bigint[])
            AS t(place, user_id, pieces, closes)
        WHERE b.ctid = t.place AND b.user_id = t.user_id AND b.sale_id + 0 = $1
          AND b.bought + t.pieces <= b.buyer_limit
        RETURNING 1
    ), outcome AS (
        INSERT INTO purchases{of_sale}
            (sale_id, attempt_id, user_id, purchased_at, total_purchased, failed_count)
        SELECT $1, t.attempt_id, t.user_id, $13, t.total, t.failed
        FROM unnest($9::bigint[], $10::text[], $11::int[], $12::int[])
            AS t(attempt_id, user_id, total, failed)
    ), line AS (
        INSERT INTO purchase_items{of_sale} (sale_id, attempt_id, item_no, quantity, outcome)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, t.outcome
        FROM unnest($14::bigint[], $15::int[], $16::int[], $17::text[])
            AS t(attempt_id, item_no, quantity, outcome)
    )
    SELECT (SELECT count(*) FROM stock), (SELECT count(*) FROM buyer)
";

/// The statements' places in [`Partitions`].
const LOCK_BUYERS_AT: usize = 0;
const LOCK_ITEMS_AT: usize = 1;
const WRITE_AT: usize = 2;

/// Settles attempts, many in a transaction.
pub(super) struct SettleBatch {
    database: Database,
    partitions: Partitions<3>,
}

#[async_trait]
impl BatchTransaction for SettleBatch {
    type Request = AttemptId;
    type Reply = Settled;
    const WHAT: &'static str = "the purchase";

    async fn run(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Result<Vec<Settled>, DatabaseError> {
        let find = self.partitions.statements(connection, sale);
        let statements = self.database.time(Statement::Read, find).await?;
        let batch = Batch { database: &self.database, statements: &statements, sale };
        let buyers = batch.lock_buyers(connection, attempts).await?;
        let mut replies = batch.stored(connection, &buyers).await?;
        let mut seen = BTreeSet::new();
        let undecided: Vec<&LockedBuyer> = attempts
            .iter()
            .filter(|attempt| !replies.contains_key(attempt) && seen.insert(**attempt))
            .filter_map(|attempt| buyers.get(attempt))
            .collect();
        if !undecided.is_empty() {
            replies.extend(batch.decide(connection, &undecided).await?);
        }
        Ok(attempts.iter().map(|attempt| reply_to(*attempt, &mut replies)).collect())
    }

    fn forget(&self, sale: SaleId) {
        self.partitions.forget(sale);
    }
}

impl SettleBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database, partitions: Partitions::new([LOCK_BUYERS, LOCK_ITEMS, WRITE]) }
    }
}

/// The statements of one batch.
struct Batch<'s> {
    database: &'s Database,
    statements: &'s Statements<3>,
    sale: SaleId,
}

impl Batch<'_> {
    async fn lock_buyers(
        &self,
        connection: &mut PgConnection,
        attempts: &[AttemptId],
    ) -> Result<HashMap<AttemptId, LockedBuyer>, DatabaseError> {
        let numbers: BTreeSet<i64> = attempts.iter().map(|attempt| attempt.get()).collect();
        let numbers: Vec<i64> = numbers.into_iter().collect();
        let query = sqlx::query_as(sql(&self.statements[LOCK_BUYERS_AT]))
            .bind(self.sale.get())
            .bind(numbers);
        let rows: BuyerRows =
            self.database.time(Statement::LockBuyers, query.fetch_one(connection)).await?;
        rows.into_buyers()
    }

    /// Outcomes of attempts that are not open any more.
    async fn stored(
        &self,
        connection: &mut PgConnection,
        buyers: &HashMap<AttemptId, LockedBuyer>,
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let closed: Vec<i64> = buyers
            .values()
            .filter(|buyer| buyer.open_attempt != Some(buyer.attempt.get()))
            .map(|buyer| buyer.attempt.get())
            .collect();
        if closed.is_empty() {
            return Ok(HashMap::new());
        }
        let stored = outcomes::stored(connection, self.sale, &closed);
        let stored = self.database.time(Statement::ReadOutcomes, stored).await?;
        Ok(stored
            .into_iter()
            .map(|stored| (stored.attempt, Settled::Before(Arc::new(stored.outcome))))
            .collect())
    }

    async fn decide(
        &self,
        connection: &mut PgConnection,
        buyers: &[&LockedBuyer],
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let numbers: Vec<i64> = buyers.iter().map(|buyer| buyer.attempt.get()).collect();
        let query = sqlx::query_as(sql(&self.statements[LOCK_ITEMS_AT]))
            .bind(self.sale.get())
            .bind(numbers);
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
            return Ok(buyers.iter().map(|buyer| (buyer.attempt, closed.clone())).collect());
        }

        let mut lines =
            lines_by_attempt(&items.basket_attempts, &items.basket_items, &items.basket_quantities);
        let requests: Vec<Request> = buyers
            .iter()
            .map(|buyer| request(buyer, lines.remove(&buyer.attempt.get()).unwrap_or_default()))
            .collect();
        let on_shelf = items.on_shelf().map(|(item, left)| (ItemNo(item), left)).collect();
        let allowances = buyers.iter().map(|buyer| {
            let allowance = Allowance { bought: buyer.bought, limit: buyer.buyer_limit };
            (buyer.user.clone(), allowance)
        });
        let settlement = settle(on_shelf, allowances.collect(), &requests);
        let decided =
            Decided { buyers, requests: &requests, items: &items, settlement: &settlement };
        self.write(connection, &decided).await?;
        Ok(replies(buyers, &requests, &items, settlement))
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        decided: &Decided<'_>,
    ) -> Result<(), DatabaseError> {
        let stock = decided.stock();
        let buyers = decided.buyers();
        let outcomes = decided.outcomes();
        let lines = decided.lines();
        let query = sqlx::query_as::<_, (i64, i64)>(sql(&self.statements[WRITE_AT]))
            .bind(self.sale.get())
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

fn request(buyer: &LockedBuyer, lines: Vec<Line>) -> Request {
    Request { attempt: buyer.attempt, buyer: buyer.user.clone(), lines }
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

#[cfg(test)]
mod tests {
    use super::super::session::Session;
    use super::*;
    use crate::domain::purchase::Fate;
    use crate::testing::builders::line;
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// The attempts as one batch.
    async fn settled(
        shop: &PostgresShop,
        sale: SaleId,
        attempts: &[AttemptId],
    ) -> Vec<(bool, Vec<Fate>)> {
        let database = shop.database().await;
        let batch = SettleBatch::new(database.clone());
        let replies = Session::default().run(&database, &batch, sale, attempts).await.unwrap();
        let told = replies.into_iter().map(|reply| match reply {
            Settled::Now(decision) => (true, decision.outcome),
            Settled::Before(outcome) => (false, outcome),
            other => panic!("no outcome: {other:?}"),
        });
        let fates =
            told.map(|(now, outcome)| (now, outcome.lines.iter().map(|line| line.fate).collect()));
        fates.collect()
    }

    #[tokio::test]
    async fn a_code_that_comes_several_times_in_one_batch_is_decided_for_the_first() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 9)).await;
        let ann = scene.attempt("ann", &[(1, 2)]).await;
        let bob = scene.attempt("bob", &[(1, 1)]).await;

        let told = settled(&shop, scene.sale, &[ann, bob, ann, ann]).await;

        let sold = || vec![Fate::Sold];
        assert_eq!(told, [(true, sold()), (true, sold()), (false, sold()), (false, sold())]);
        assert_eq!(scene.progress().await.sold, 3);
    }

    #[tokio::test]
    async fn the_same_item_wanted_by_a_whole_batch_is_sold_to_the_first_who_ask() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(1, 20)).await;
        let mut attempts = Vec::new();
        for number in 0..64 {
            attempts.push(scene.attempt(&format!("buyer-{number}"), &[(1, 1)]).await);
        }

        let told = settled(&shop, scene.sale, &attempts).await;

        let fates: Vec<_> = told.into_iter().map(|(_, fates)| fates[0]).collect();
        assert_eq!(fates, [[Fate::Sold; 20].as_slice(), &[Fate::SoldOut; 44]].concat());
    }

    #[tokio::test]
    async fn a_buyer_with_two_codes_in_one_batch_has_one_limit() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(2, 100)).await;
        let one = scene.stray("ann", &[line(1, 6)]).await;
        let two = scene.stray("ann", &[line(2, 6)]).await;

        let told = settled(&shop, scene.sale, &[one, two]).await;

        assert_eq!(told, [(true, vec![Fate::Sold]), (true, vec![Fate::BuyerLimit])]);
    }
}
