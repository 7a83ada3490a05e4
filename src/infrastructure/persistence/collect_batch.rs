//! The transaction behind every checkout: a batch of lines for one sale, collected together.
//!
//! 1. Lock the buyers' rows that exist, by the bytes of their ids.
//! 2. In later statements, because the first may have waited: read the sale with the clock, which wanted items are sold out,
//!    and the baskets of open attempts.
//! 3. Decide each request in arrival order.
//! 4. Write. A buyer who had no row gets one together with the attempt; if another instance was faster with it, roll back
//!    and decide again.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::attempt_ids::AttemptIds;
use super::baskets;
use super::batches::BatchTransaction;
use super::database::Database;
use super::error::DatabaseError;
use super::metrics::Statement;
use super::transaction::Options;
use crate::application::ports::{Collect, Collected, StockFacts};
use crate::domain::checkout::Standing;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::{SaleState, SaleWindow};

const LOCK_BUYERS: &str = r"
    SELECT b.user_id, b.place, b.open_attempt, b.bought
    FROM unnest($2::text[]) AS t(user_id)
    CROSS JOIN LATERAL (
        SELECT user_id, ctid::text AS place, open_attempt, bought FROM buyers
        WHERE sale_id = $1 AND user_id = t.user_id
        OFFSET 0
        FOR NO KEY UPDATE
    ) AS b
";

const READ_SALE: &str = r"
    SELECT s.starts_at, s.ends_at, s.buyer_limit, s.generation, clock_timestamp() AS now,
           ARRAY(
               SELECT t.item_no
               FROM unnest($2::int[]) AS t(item_no)
               CROSS JOIN LATERAL (
                   SELECT 1 FROM item_stock
                   WHERE sale_id = $1 AND item_no = t.item_no AND sold >= stock
                   OFFSET 0
               ) AS gone
           ) AS sold_out
    FROM sales AS s
    WHERE s.id = $1
";

const WRITE: &str = r"
    WITH new_buyer AS (
        INSERT INTO buyers (sale_id, user_id, open_attempt, bought, buyer_limit)
        SELECT $1, t.user_id, t.attempt_id, 0, $2
        FROM unnest($3::text[], $4::bigint[]) AS t(user_id, attempt_id)
        ON CONFLICT DO NOTHING
        RETURNING 1
    ), old_buyer AS (
        UPDATE buyers AS b
        SET open_attempt = t.attempt_id
        FROM unnest($5::text[], $6::text[], $7::bigint[]) AS t(place, user_id, attempt_id)
        WHERE b.sale_id = $1 AND b.ctid = t.place::tid AND b.user_id = t.user_id
          AND b.open_attempt IS NULL
        RETURNING 1
    ), attempt AS (
        INSERT INTO checkout_attempts (sale_id, id, user_id, created_at)
        SELECT $1, t.id, t.user_id, $8
        FROM unnest($9::bigint[], $10::text[]) AS t(id, user_id)
    ), line AS (
        INSERT INTO checkout_items (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, $8
        FROM unnest($11::bigint[], $12::int[], $13::int[]) AS t(attempt_id, item_no, quantity)
        ON CONFLICT (sale_id, attempt_id, item_no) DO UPDATE
        SET quantity = EXCLUDED.quantity
    )
    SELECT (SELECT count(*) FROM new_buyer), (SELECT count(*) FROM old_buyer)
";

/// Collects lines, many in a transaction.
pub(super) struct CollectBatch {
    database: Database,
    ids: AttemptIds,
}

/// A buyer whose row is locked.
#[derive(Debug, sqlx::FromRow)]
struct BuyerRow {
    user_id: String,
    place: String,
    open_attempt: Option<i64>,
    bought: i32,
}

/// The sale as of now.
#[derive(Debug, sqlx::FromRow)]
struct SaleRow {
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    buyer_limit: i32,
    generation: i64,
    now: DateTime<Utc>,
    sold_out: Vec<i32>,
}

/// What a buyer has, and what this batch makes of it.
#[derive(Debug, Default)]
struct Basket {
    /// Where the buyer's row lies, if there is one.
    place: Option<String>,
    open: Option<AttemptId>,
    /// The attempt that this batch opens.
    opened: Option<AttemptId>,
    standing: Standing,
    /// Quantities that this batch sets, by item.
    set: BTreeMap<i32, i32>,
}

/// The buyers of a batch, by the bytes of their ids.
type Baskets<'a> = BTreeMap<&'a str, Basket>;

#[async_trait]
impl BatchTransaction for CollectBatch {
    type Request = Collect;
    type Reply = Collected;
    const WHAT: &'static str = "the checkout";

    async fn run(
        &self,
        sale: SaleId,
        requests: &[Collect],
    ) -> Result<Vec<Collected>, DatabaseError> {
        self.database
            .transaction(Options::WRITE, |mut tx| async move {
                let collected = self.collect(&mut tx, sale, requests).await?;
                Ok((tx, collected))
            })
            .await
    }
}

impl CollectBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database, ids: AttemptIds::default() }
    }

    async fn collect(
        &self,
        connection: &mut PgConnection,
        sale_id: SaleId,
        requests: &[Collect],
    ) -> Result<Vec<Collected>, DatabaseError> {
        let mut baskets = self.lock_buyers(connection, sale_id, requests).await?;
        let sale = self.read_sale(connection, sale_id, requests).await?;
        let window = SaleWindow::new(sale.starts_at, sale.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        match window.state_at(sale.now) {
            SaleState::Open => {}
            SaleState::Upcoming => return Ok(vec![Collected::NotStarted; requests.len()]),
            SaleState::Ended => return Ok(vec![Collected::Ended; requests.len()]),
        }
        self.read_baskets(connection, sale_id, &mut baskets).await?;
        let closed = baskets.values().filter(|basket| basket.open.is_none()).count();
        let ids =
            self.ids.take(closed, connection).await.map_err(|error| self.database.note(error))?;
        let replies = decide(requests, &sale, &mut baskets, ids);
        self.write(connection, sale_id, &sale, &baskets).await?;
        Ok(replies)
    }

    async fn lock_buyers<'a>(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        requests: &'a [Collect],
    ) -> Result<Baskets<'a>, DatabaseError> {
        let mut baskets: Baskets<'a> =
            requests.iter().map(|request| (request.buyer.as_str(), Basket::default())).collect();
        let users: Vec<&str> = baskets.keys().copied().collect();
        let query = sqlx::query_as(LOCK_BUYERS).bind(sale.get()).bind(users);
        let rows: Vec<BuyerRow> =
            self.database.time(Statement::LockBuyers, query.fetch_all(connection)).await?;
        for row in rows {
            let Some(basket) = baskets.get_mut(row.user_id.as_str()) else {
                continue;
            };
            basket.place = Some(row.place);
            basket.open = row.open_attempt.and_then(AttemptId::new);
            basket.standing.bought = row.bought;
        }
        Ok(baskets)
    }

    async fn read_sale(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        requests: &[Collect],
    ) -> Result<SaleRow, DatabaseError> {
        let wanted: BTreeSet<i32> = requests.iter().map(|request| request.line.item.0).collect();
        let wanted: Vec<i32> = wanted.into_iter().collect();
        let query = sqlx::query_as(READ_SALE).bind(sale.get()).bind(wanted);
        self.database.time(Statement::ReadSale, query.fetch_one(connection)).await
    }

    async fn read_baskets(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        baskets: &mut Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let open: Vec<i64> =
            baskets.values().filter_map(|basket| Some(basket.open?.get())).collect();
        if open.is_empty() {
            return Ok(());
        }
        let lines = baskets::read(connection, sale, &open);
        let mut lines = self.database.time(Statement::ReadBaskets, lines).await?;
        for basket in baskets.values_mut() {
            if let Some(open) = basket.open {
                basket.standing.lines = lines.remove(&open.get()).unwrap_or_default();
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        sale_id: SaleId,
        sale: &SaleRow,
        baskets: &Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let columns = Columns::of(baskets);
        if columns.line_attempts.is_empty() {
            return Ok(());
        }
        let query = sqlx::query_as::<_, (i64, i64)>(WRITE)
            .bind(sale_id.get())
            .bind(sale.buyer_limit)
            .bind(&columns.new_users)
            .bind(&columns.new_attempts)
            .bind(&columns.old_places)
            .bind(&columns.old_users)
            .bind(&columns.old_attempts)
            .bind(sale.now)
            .bind(&columns.attempts)
            .bind(&columns.attempt_users)
            .bind(&columns.line_attempts)
            .bind(&columns.line_items)
            .bind(&columns.line_quantities);
        let (new, old) =
            self.database.time(Statement::WriteCheckouts, query.fetch_one(connection)).await?;
        let (new, old) = (usize::try_from(new), usize::try_from(old));
        if new != Ok(columns.new_users.len()) || old != Ok(columns.old_users.len()) {
            return Err(self.database.note(DatabaseError::Raced("buyers")));
        }
        Ok(())
    }
}

/// What is written, column by column; buyers in the order of their bytes.
#[derive(Default)]
struct Columns<'a> {
    new_users: Vec<&'a str>,
    new_attempts: Vec<i64>,
    old_places: Vec<&'a str>,
    old_users: Vec<&'a str>,
    old_attempts: Vec<i64>,
    attempts: Vec<i64>,
    attempt_users: Vec<&'a str>,
    line_attempts: Vec<i64>,
    line_items: Vec<i32>,
    line_quantities: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn of(baskets: &'a Baskets<'_>) -> Self {
        let mut columns = Self::default();
        for (user, basket) in baskets {
            if let Some(opened) = basket.opened {
                columns.attempts.push(opened.get());
                columns.attempt_users.push(user);
                match &basket.place {
                    None => {
                        columns.new_users.push(user);
                        columns.new_attempts.push(opened.get());
                    }
                    Some(place) => {
                        columns.old_places.push(place);
                        columns.old_users.push(user);
                        columns.old_attempts.push(opened.get());
                    }
                }
            }
            let Some(attempt) = basket.open.or(basket.opened) else {
                continue;
            };
            for (item, quantity) in &basket.set {
                columns.line_attempts.push(attempt.get());
                columns.line_items.push(*item);
                columns.line_quantities.push(*quantity);
            }
        }
        columns
    }
}

/// Decides every request in arrival order. `ids` holds a number for each buyer without an open attempt.
fn decide(
    requests: &[Collect],
    sale: &SaleRow,
    baskets: &mut Baskets<'_>,
    mut ids: Vec<AttemptId>,
) -> Vec<Collected> {
    let gone: HashSet<i32> = sale.sold_out.iter().copied().collect();
    requests
        .iter()
        .map(|request| {
            let item = request.line.item;
            if gone.contains(&item.0) {
                return sold_out(sale.generation, item);
            }
            let Some(basket) = baskets.get_mut(request.buyer.as_str()) else {
                return Collected::OverLimit;
            };
            if basket.standing.collect(request.line, sale.buyer_limit).is_err() {
                return Collected::OverLimit;
            }
            let Some(attempt) = basket.attempt(&mut ids) else {
                return Collected::OverLimit;
            };
            basket.set.insert(item.0, request.line.quantity.get());
            Collected::Added {
                attempt,
                standing: basket.standing.clone(),
                version: sale.now.timestamp_micros(),
            }
        })
        .collect()
}

impl Basket {
    fn attempt(&mut self, ids: &mut Vec<AttemptId>) -> Option<AttemptId> {
        if self.open.is_none() && self.opened.is_none() {
            self.opened = ids.pop();
        }
        self.open.or(self.opened)
    }
}

fn sold_out(generation: i64, item: ItemNo) -> Collected {
    Collected::SoldOut(StockFacts { generation, sold_out: vec![item], sold: Vec::new() })
}
