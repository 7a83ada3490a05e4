//! What stands behind every purchase: a batch of attempts of one sale, decided and stored together.
//!
//! 1. Read the sale with the clock, the attempts' buyers, their lines, and the wanted items that are not sold out; and the
//!    outcomes of attempts that have one. In [`Mode::Locked`] the buyers' rows are locked first, by the bytes of their ids,
//!    in a statement of its own, because one that waited still reads what was there before; then the items, by number.
//! 2. Let [`settle`] decide.
//! 3. Write, with conditions: the buyer's row as it was read, pieces left for all that is sold. Fewer rows than decided
//!    mean that somebody was faster: the statement fails as a whole.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::baskets::lines_by_attempt;
use super::batches::{BatchTransaction, Mode};
use super::database::Database;
use super::error::DatabaseError;
use super::metrics::Statement;
use super::outcomes;
use super::partitions::{Partitions, Statements, sql};
use super::settle_rows::{Decided, ReadBuyer, SaleRow, WrittenStock};
use crate::application::ports::{Decision, Settled, StockFacts};
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::purchase::Outcome;
use crate::domain::sale::{SaleState, SaleWindow};
use crate::domain::settlement::{Allowance, Request, settle};

/// Attempts are looked up before the lock because they never change.
const LOCK_BUYERS: &str = r#"
    SELECT count(*)
    FROM (
        SELECT c.user_id
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
        SELECT 1 FROM buyers{of_sale}
        WHERE sale_id = $1 AND user_id = a.user_id
        OFFSET 0
        FOR NO KEY UPDATE
    ) AS b
"#;

/// The aggregate over `item` is complete, and so all locks are held where it locks, before the outer row reads the clock.
macro_rules! read {
    ($lock:literal) => {
        concat!(
            r"
    WITH buyer AS MATERIALIZED (
        SELECT t.attempt_id, b.*
        FROM unnest($2::bigint[]) AS t(attempt_id)
        CROSS JOIN LATERAL (
            SELECT user_id FROM checkout_attempts{of_sale}
            WHERE sale_id = $1 AND id = t.attempt_id
            OFFSET 0
        ) AS c
        CROSS JOIN LATERAL (
            SELECT user_id, ctid AS place, version, open_attempt, bought, buyer_limit
            FROM buyers{of_sale}
            WHERE sale_id = $1 AND user_id = c.user_id
            OFFSET 0
        ) AS b
    ), basket AS MATERIALIZED (
        SELECT b.attempt_id, l.item_no, l.quantity
        FROM buyer AS b
        CROSS JOIN LATERAL (
            SELECT item_no, quantity, added_at FROM checkout_items{of_sale}
            WHERE sale_id = $1 AND attempt_id = b.attempt_id
            OFFSET 0
        ) AS l
        ORDER BY l.added_at, l.item_no
    ), item AS MATERIALIZED (
        SELECT i.item_no, i.place, i.stock, i.sold
        FROM (SELECT DISTINCT item_no FROM basket ORDER BY item_no OFFSET 0) AS t
        CROSS JOIN LATERAL (
            SELECT item_no, ctid AS place, stock, sold FROM item_stock{of_sale}
            WHERE sale_id = $1 AND item_no = t.item_no AND sold < stock
            OFFSET 0
            ",
            $lock,
            r"
        ) AS i
    )
    SELECT s.starts_at, s.ends_at, s.generation, clock_timestamp() AS now,
           i.items, i.item_places, i.stock, i.sold,
           b.attempts, b.users, b.places, b.versions, b.open, b.bought, b.limits,
           l.line_attempts, l.line_items, l.line_quantities
    FROM (
        SELECT coalesce(array_agg(item_no), '{}') AS items,
               coalesce(array_agg(place), '{}') AS item_places,
               coalesce(array_agg(stock), '{}') AS stock,
               coalesce(array_agg(sold), '{}') AS sold
        FROM item
    ) AS i
    CROSS JOIN (
        SELECT coalesce(array_agg(attempt_id), '{}') AS attempts,
               coalesce(array_agg(user_id), '{}') AS users,
               coalesce(array_agg(place), '{}') AS places,
               coalesce(array_agg(version), '{}') AS versions,
               coalesce(array_agg(open_attempt), '{}') AS open,
               coalesce(array_agg(bought), '{}') AS bought,
               coalesce(array_agg(buyer_limit), '{}') AS limits
        FROM buyer
    ) AS b
    CROSS JOIN (
        SELECT coalesce(array_agg(attempt_id), '{}') AS line_attempts,
               coalesce(array_agg(item_no), '{}') AS line_items,
               coalesce(array_agg(quantity), '{}') AS line_quantities
        FROM basket
    ) AS l
    CROSS JOIN sales AS s
    WHERE s.id = $1
"
        )
    };
}

pub(crate) const READ: &str = read!("");
const READ_AND_LOCK_ITEMS: &str = read!("FOR NO KEY UPDATE");

/// Buyers by their bytes, then items by their numbers: `held` is complete before the first item is touched.
macro_rules! write {
    ($wanted:literal, $meets:literal) => {
        concat!(
            r"
    WITH buyer AS (
        UPDATE buyers{of_sale} AS b
        SET bought = b.bought + t.pieces, version = b.version + 1,
            open_attempt = CASE WHEN b.open_attempt = t.closes THEN NULL ELSE b.open_attempt END
        FROM unnest($2::tid[], $3::text[], $4::bigint[], $5::int[], $6::bigint[])
            AS t(place, user_id, version, pieces, closes)
        WHERE b.ctid = t.place AND b.user_id = t.user_id AND b.sale_id + 0 = $1
          AND b.version = t.version AND b.bought + t.pieces <= b.buyer_limit
        RETURNING 1
    ), held AS MATERIALIZED (
        SELECT count(*) = cardinality($3) AS as_decided FROM buyer
    ), item AS (
        UPDATE item_stock{of_sale} AS i
        SET sold = i.sold + t.pieces
        FROM held CROSS JOIN (
            ",
            $wanted,
            r"
        ) AS t
        WHERE held.as_decided AND i.sold + t.pieces <= i.stock
          AND ",
            $meets,
            r"
        RETURNING i.item_no, i.stock, i.sold
    ), outcome AS (
        INSERT INTO purchases{of_sale}
            (sale_id, attempt_id, user_id, purchased_at, total_purchased, failed_count)
        SELECT $1, t.attempt_id, t.user_id, $10, t.total, t.failed
        FROM unnest($11::bigint[], $12::text[], $13::int[], $14::int[])
            AS t(attempt_id, user_id, total, failed)
    ), line AS (
        INSERT INTO purchase_items{of_sale} (sale_id, attempt_id, item_no, quantity, outcome)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, t.outcome
        FROM unnest($15::bigint[], $16::int[], $17::int[], $18::text[])
            AS t(attempt_id, item_no, quantity, outcome)
    ), written AS MATERIALIZED (
        SELECT coalesce(array_agg(item_no), '{}') AS items,
               coalesce(array_agg(stock), '{}') AS stock,
               coalesce(array_agg(sold), '{}') AS sold
        FROM item
    )
    SELECT w.items, w.stock, w.sold,
           hold_batch($1, h.as_decided AND cardinality(w.items) = cardinality($8)) AS held
    FROM held AS h CROSS JOIN written AS w
"
        )
    };
}

pub(crate) const WRITE: &str = write!(
    "SELECT * FROM unnest($7::tid[], $8::int[], $9::int[]) AS t(place, item_no, pieces)",
    "i.ctid = t.place AND i.item_no = t.item_no AND i.sale_id + 0 = $1"
);
/// Where others sell the same items, their rows lie elsewhere by now. Found by their keys they are waited for and sold as
/// they are then, if enough is left. The sale's number comes with the items: beside a constant, the planner may begin
/// with all items of the sale.
const WRITE_AMONG: &str = write!(
    r"SELECT $1::bigint AS sale_id, t.item_no, t.pieces
            FROM unnest($7::tid[], $8::int[], $9::int[]) AS t(read_at, item_no, pieces)
            OFFSET 0",
    "i.sale_id = t.sale_id AND i.item_no = t.item_no"
);

/// The statements' places in [`Partitions`].
const LOCK_BUYERS_AT: usize = 0;
const READ_AT: usize = 1;
const READ_AND_LOCK_ITEMS_AT: usize = 2;
const WRITE_AT: usize = 3;
const WRITE_AMONG_AT: usize = 4;

/// Settles attempts, many in a transaction.
pub(super) struct SettleBatch {
    database: Database,
    partitions: Partitions<5>,
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
        mode: Mode,
    ) -> Result<Vec<Settled>, DatabaseError> {
        let statements = self.partitions.statements(connection, sale).await;
        let statements = statements.map_err(|error| self.database.note(error.into()))?;
        let batch = Batch { database: &self.database, statements: &statements, sale, mode };
        let Some(read) = batch.read(connection, attempts).await? else {
            // The sale was dropped, and with it all that its codes stood for.
            return Ok(vec![Settled::Unknown; attempts.len()]);
        };
        let buyers = read.buyers()?;
        let mut replies = batch.stored(connection, &buyers).await?;
        let mut seen = BTreeSet::new();
        let undecided: Vec<&ReadBuyer> = attempts
            .iter()
            .filter(|attempt| !replies.contains_key(attempt) && seen.insert(**attempt))
            .filter_map(|attempt| buyers.get(attempt))
            .collect();
        if !undecided.is_empty() {
            replies.extend(batch.decide(connection, &read, &undecided).await?);
        }
        Ok(attempts.iter().map(|attempt| reply_to(*attempt, &mut replies)).collect())
    }

    fn forget(&self, sale: SaleId) {
        self.partitions.forget(sale);
    }
}

impl SettleBatch {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database,
            partitions: Partitions::new([
                LOCK_BUYERS,
                READ,
                READ_AND_LOCK_ITEMS,
                WRITE,
                WRITE_AMONG,
            ]),
        }
    }
}

/// The statements of one batch.
struct Batch<'s> {
    database: &'s Database,
    statements: &'s Statements<5>,
    sale: SaleId,
    mode: Mode,
}

impl Batch<'_> {
    async fn read(
        &self,
        connection: &mut PgConnection,
        attempts: &[AttemptId],
    ) -> Result<Option<SaleRow>, DatabaseError> {
        let numbers: BTreeSet<i64> = attempts.iter().map(|attempt| attempt.get()).collect();
        let numbers: Vec<i64> = numbers.into_iter().collect();
        let (statement, timed) = match self.mode {
            Mode::AtOnce | Mode::Among => (READ_AT, Statement::ReadPurchases),
            Mode::Locked => (READ_AND_LOCK_ITEMS_AT, Statement::LockItems),
        };
        if self.mode == Mode::Locked {
            let lock = sqlx::query_scalar::<_, i64>(sql(&self.statements[LOCK_BUYERS_AT]))
                .bind(self.sale.get())
                .bind(&numbers)
                .fetch_one(&mut *connection);
            self.database.time(Statement::LockBuyers, lock).await?;
        }
        let query = sqlx::query_as(sql(&self.statements[statement]));
        let read = query.bind(self.sale.get()).bind(&numbers).fetch_optional(connection);
        self.database.time(timed, read).await
    }

    /// Outcomes of attempts that are not open any more.
    async fn stored(
        &self,
        connection: &mut PgConnection,
        buyers: &HashMap<AttemptId, ReadBuyer>,
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
        read: &SaleRow,
        buyers: &[&ReadBuyer],
    ) -> Result<HashMap<AttemptId, Settled>, DatabaseError> {
        let window = SaleWindow::new(read.starts_at, read.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        let closed = match window.state_at(read.now) {
            SaleState::Open => None,
            SaleState::Upcoming => Some(Settled::NotStarted),
            SaleState::Ended => Some(Settled::Ended),
        };
        if let Some(closed) = closed {
            return Ok(buyers.iter().map(|buyer| (buyer.attempt, closed.clone())).collect());
        }

        let mut lines =
            lines_by_attempt(&read.line_attempts, &read.line_items, &read.line_quantities);
        let requests: Vec<Request> = buyers
            .iter()
            .map(|buyer| request(buyer, lines.remove(&buyer.attempt.get()).unwrap_or_default()))
            .collect();
        let on_shelf = read.on_shelf().map(|(item, left)| (ItemNo(item), left)).collect();
        let allowances = buyers.iter().map(|buyer| {
            let allowance = Allowance { bought: buyer.bought, limit: buyer.buyer_limit };
            (buyer.user.clone(), allowance)
        });
        let settlement = settle(on_shelf, allowances.collect(), &requests);
        let decided = Decided { buyers, requests: &requests, read, settlement: &settlement };
        let stock = self.write(connection, &decided).await?;
        Ok(replies(&decided, &stock))
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        decided: &Decided<'_>,
    ) -> Result<WrittenStock, DatabaseError> {
        let stock = decided.stock();
        let buyers = decided.buyers();
        let outcomes = decided.outcomes();
        let lines = decided.lines();
        let statement = if self.mode == Mode::Among { WRITE_AMONG_AT } else { WRITE_AT };
        let query = sqlx::query_as(sql(&self.statements[statement]))
            .bind(self.sale.get())
            .bind(&buyers.places)
            .bind(&buyers.users)
            .bind(&buyers.versions)
            .bind(&buyers.pieces)
            .bind(&buyers.closes)
            .bind(&stock.places)
            .bind(&stock.items)
            .bind(&stock.pieces)
            .bind(decided.read.now)
            .bind(&outcomes.attempts)
            .bind(&outcomes.users)
            .bind(&outcomes.totals)
            .bind(&outcomes.failed)
            .bind(&lines.attempts)
            .bind(&lines.items)
            .bind(&lines.quantities)
            .bind(&lines.fates);
        self.database.time(Statement::WritePurchases, query.fetch_one(connection)).await
    }
}

fn request(buyer: &ReadBuyer, lines: Vec<Line>) -> Request {
    Request { attempt: buyer.attempt, buyer: buyer.user.clone(), lines }
}

fn replies(decided: &Decided<'_>, stock: &WrittenStock) -> HashMap<AttemptId, Settled> {
    let Decided { buyers, requests, read, settlement } = *decided;
    let sold_now = stock.by_item();
    let not_sold_out: HashSet<i32> = read.items.iter().copied().collect();
    let mut replies = HashMap::with_capacity(requests.len());
    for (buyer, request) in buyers.iter().zip(requests) {
        let lines = settlement.decided.get(&request.attempt).cloned().unwrap_or_default();
        let mut facts = StockFacts { generation: read.generation, ..StockFacts::default() };
        for settled in &lines {
            let item = settled.line.item;
            if let Some((stock, sold)) = sold_now.get(&item.0) {
                facts.sold.push((item, *sold));
                if sold == stock {
                    facts.sold_out.push(item);
                }
            } else if !not_sold_out.contains(&item.0) {
                facts.sold_out.push(item);
            }
        }
        let bought = settlement.bought.get(&request.buyer).copied().unwrap_or(0);
        let settled = Settled::Now(Decision {
            outcome: Arc::new(Outcome {
                buyer: request.buyer.clone(),
                purchased_at: read.now,
                lines,
            }),
            facts,
            version: read.now.timestamp_micros(),
            bought: buyer.bought + bought,
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
    use std::time::Duration;

    use super::super::error::ErrorClass;
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

    /// What a batch in this mode comes to while somebody else sells a piece of the only item: whether it lost, and what
    /// was sold in the end.
    async fn beside_a_sale(stock: i32, mode: Mode) -> (bool, i64) {
        let shop = PostgresShop::with_lock_timeout(Duration::from_secs(20)).await;
        let scene = Scene::open(&shop, Terms::stocked(1, stock)).await;
        let attempts = [scene.attempt("ann", &[(1, 1)]).await];
        let database = shop.database().await;
        let batch = SettleBatch::new(database.clone());
        let mut connection = database.acquire().await.unwrap();
        let mut other = shop.pool.begin().await.unwrap();
        let sells = "UPDATE item_stock SET sold = sold + 1 WHERE sale_id = $1";
        sqlx::query(sells).bind(scene.sale.get()).execute(&mut *other).await.unwrap();

        let (result, ()) =
            tokio::join!(batch.run(&mut connection, scene.sale, &attempts, mode), async {
                shop.somebody_waits().await;
                other.commit().await.unwrap();
            });
        let lost = result.is_err_and(|error| error.class() == ErrorClass::Transient);
        (lost, scene.progress().await.sold)
    }

    #[tokio::test]
    async fn a_batch_that_is_alone_loses_to_whoever_sells_the_same_item_at_the_same_time() {
        assert_eq!(beside_a_sale(9, Mode::AtOnce).await, (true, 1));
    }

    #[tokio::test]
    async fn among_others_a_batch_waits_for_them_and_sells_what_they_leave() {
        assert_eq!(beside_a_sale(2, Mode::Among).await, (false, 2));
    }

    #[tokio::test]
    async fn among_others_a_batch_loses_where_they_leave_nothing() {
        assert_eq!(beside_a_sale(1, Mode::Among).await, (true, 1));
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
