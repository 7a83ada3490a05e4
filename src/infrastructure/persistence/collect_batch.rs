//! The transaction behind every checkout: a batch of lines for one sale, collected together.
//!
//! 1. Lock the buyers' rows that exist, by the bytes of their ids.
//! 2. In a later statement, because the first may have waited: read the sale with the clock, which wanted items are sold
//!    out, and the lines of open attempts.
//! 3. Decide each request in arrival order.
//! 4. Write. A buyer who had no row gets one together with the attempt; if another instance was faster with it, the row's
//!    key says so: roll back and decide again.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::attempt_ids::AttemptIds;
use super::baskets::lines_by_attempt;
use super::batches::BatchTransaction;
use super::database::Database;
use super::error::DatabaseError;
use super::metrics::Statement;
use super::partitions::{Partitions, Statements, sql};
use super::place::Place;
use crate::application::ports::{Collect, Collected, StockFacts};
use crate::domain::checkout::Standing;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::{SaleState, SaleWindow};

/// One row of arrays, because a row each costs both sides more than what is in it.
const LOCK_BUYERS: &str = r"
    SELECT coalesce(array_agg(b.user_id), '{}'), coalesce(array_agg(b.place), '{}'),
           coalesce(array_agg(b.open_attempt), '{}'), coalesce(array_agg(b.bought), '{}')
    FROM unnest($2::text[]) AS t(user_id)
    CROSS JOIN LATERAL (
        SELECT user_id, ctid AS place, open_attempt, bought FROM buyers{of_sale}
        WHERE sale_id = $1 AND user_id = t.user_id
        OFFSET 0
        FOR NO KEY UPDATE
    ) AS b
";

const READ: &str = r"
    SELECT s.starts_at, s.ends_at, s.buyer_limit, s.generation, clock_timestamp() AS now,
           g.sold_out, l.attempts, l.items, l.quantities
    FROM sales AS s
    CROSS JOIN (
        SELECT coalesce(array_agg(t.item_no), '{}') AS sold_out
        FROM unnest($2::int[]) AS t(item_no)
        CROSS JOIN LATERAL (
            SELECT 1 FROM item_stock{of_sale}
            WHERE sale_id = $1 AND item_no = t.item_no AND sold >= stock
            OFFSET 0
        ) AS gone
    ) AS g
    CROSS JOIN (
        SELECT coalesce(array_agg(t.attempt_id), '{}') AS attempts,
               coalesce(array_agg(l.item_no), '{}') AS items,
               coalesce(array_agg(l.quantity), '{}') AS quantities
        FROM unnest($3::bigint[]) AS t(attempt_id)
        CROSS JOIN LATERAL (
            SELECT item_no, quantity FROM checkout_items{of_sale}
            WHERE sale_id = $1 AND attempt_id = t.attempt_id
            ORDER BY added_at, item_no
            OFFSET 0
        ) AS l
    ) AS l
    WHERE s.id = $1
";

/// Only lines of attempts that were there before can meet a line of the same item: the others need not look for one.
const WRITE: &str = r"
    WITH new_buyer AS (
        INSERT INTO buyers{of_sale} (sale_id, user_id, open_attempt, bought, buyer_limit)
        SELECT $1, t.user_id, t.attempt_id, 0, $2
        FROM unnest($3::text[], $4::bigint[]) AS t(user_id, attempt_id)
    ), old_buyer AS (
        UPDATE buyers{of_sale} AS b
        SET open_attempt = t.attempt_id
        FROM unnest($5::tid[], $6::text[], $7::bigint[]) AS t(place, user_id, attempt_id)
        WHERE b.ctid = t.place AND b.user_id = t.user_id AND b.sale_id + 0 = $1
          AND b.open_attempt IS NULL
        RETURNING 1
    ), attempt AS (
        INSERT INTO checkout_attempts{of_sale} (sale_id, id, user_id, created_at)
        SELECT $1, t.id, t.user_id, $8
        FROM unnest($9::bigint[], $10::text[]) AS t(id, user_id)
    ), first_line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, $8
        FROM unnest($11::bigint[], $12::int[], $13::int[]) AS t(attempt_id, item_no, quantity)
    ), later_line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, $8
        FROM unnest($14::bigint[], $15::int[], $16::int[]) AS t(attempt_id, item_no, quantity)
        ON CONFLICT (sale_id, attempt_id, item_no) DO UPDATE
        SET quantity = EXCLUDED.quantity
    )
    SELECT count(*) FROM old_buyer
";

/// The statements' places in [`Partitions`].
const LOCK_BUYERS_AT: usize = 0;
const READ_AT: usize = 1;
const WRITE_AT: usize = 2;

/// Collects lines, many in a transaction.
pub(super) struct CollectBatch {
    database: Database,
    ids: AttemptIds,
    partitions: Partitions<3>,
}

/// The buyers that have a row, which is locked, column by column.
type LockedBuyers = (Vec<String>, Vec<Place>, Vec<Option<i64>>, Vec<i32>);

/// The sale as of now, and the lines of open attempts, column by column.
#[derive(Debug, sqlx::FromRow)]
struct SaleRow {
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    buyer_limit: i32,
    generation: i64,
    now: DateTime<Utc>,
    sold_out: Vec<i32>,
    attempts: Vec<i64>,
    items: Vec<i32>,
    quantities: Vec<i32>,
}

/// What a buyer has, and what this batch makes of it.
#[derive(Debug, Default)]
struct Basket {
    /// Where the buyer's row lies, if there is one.
    place: Option<Place>,
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
        connection: &mut PgConnection,
        sale_id: SaleId,
        requests: &[Collect],
    ) -> Result<Vec<Collected>, DatabaseError> {
        let find = self.partitions.statements(connection, sale_id);
        let statements = self.database.time(Statement::Read, find).await?;
        let batch = Batch { database: &self.database, statements: &statements, sale_id };
        let mut baskets = batch.lock_buyers(connection, requests).await?;
        let sale = batch.read(connection, requests, &mut baskets).await?;
        let window = SaleWindow::new(sale.starts_at, sale.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        match window.state_at(sale.now) {
            SaleState::Open => {}
            SaleState::Upcoming => return Ok(vec![Collected::NotStarted; requests.len()]),
            SaleState::Ended => return Ok(vec![Collected::Ended; requests.len()]),
        }
        let closed = baskets.values().filter(|basket| basket.open.is_none()).count();
        let ids =
            self.ids.take(closed, connection).await.map_err(|error| self.database.note(error))?;
        let replies = decide(requests, &sale, &mut baskets, ids);
        batch.write(connection, &sale, &baskets).await?;
        Ok(replies)
    }

    fn forget(&self, sale: SaleId) {
        self.partitions.forget(sale);
    }
}

impl CollectBatch {
    pub(super) fn new(database: Database) -> Self {
        let partitions = Partitions::new([LOCK_BUYERS, READ, WRITE]);
        Self { database, ids: AttemptIds::default(), partitions }
    }
}

/// The statements of one batch.
struct Batch<'s> {
    database: &'s Database,
    statements: &'s Statements<3>,
    sale_id: SaleId,
}

impl Batch<'_> {
    async fn lock_buyers<'a>(
        &self,
        connection: &mut PgConnection,
        requests: &'a [Collect],
    ) -> Result<Baskets<'a>, DatabaseError> {
        let mut baskets: Baskets<'a> =
            requests.iter().map(|request| (request.buyer.as_str(), Basket::default())).collect();
        let users: Vec<&str> = baskets.keys().copied().collect();
        let query = sqlx::query_as(sql(&self.statements[LOCK_BUYERS_AT]))
            .bind(self.sale_id.get())
            .bind(users);
        let locked: LockedBuyers =
            self.database.time(Statement::LockBuyers, query.fetch_one(connection)).await?;
        let (users, places, open, bought) = locked;
        for (((user, place), open), bought) in users.iter().zip(places).zip(open).zip(bought) {
            let Some(basket) = baskets.get_mut(user.as_str()) else {
                continue;
            };
            basket.place = Some(place);
            basket.open = open.and_then(AttemptId::new);
            basket.standing.bought = bought;
        }
        Ok(baskets)
    }

    async fn read(
        &self,
        connection: &mut PgConnection,
        requests: &[Collect],
        baskets: &mut Baskets<'_>,
    ) -> Result<SaleRow, DatabaseError> {
        let wanted: BTreeSet<i32> = requests.iter().map(|request| request.line.item.0).collect();
        let wanted: Vec<i32> = wanted.into_iter().collect();
        let open: Vec<i64> =
            baskets.values().filter_map(|basket| Some(basket.open?.get())).collect();
        let query = sqlx::query_as(sql(&self.statements[READ_AT]))
            .bind(self.sale_id.get())
            .bind(wanted)
            .bind(open);
        let sale: SaleRow =
            self.database.time(Statement::ReadCheckouts, query.fetch_one(connection)).await?;
        let mut lines = lines_by_attempt(&sale.attempts, &sale.items, &sale.quantities);
        for basket in baskets.values_mut() {
            if let Some(open) = basket.open {
                basket.standing.lines = lines.remove(&open.get()).unwrap_or_default();
            }
        }
        Ok(sale)
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        sale: &SaleRow,
        baskets: &Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let columns = Columns::of(baskets);
        if columns.first.attempts.is_empty() && columns.later.attempts.is_empty() {
            return Ok(());
        }
        let query = sqlx::query_scalar::<_, i64>(sql(&self.statements[WRITE_AT]))
            .bind(self.sale_id.get())
            .bind(sale.buyer_limit)
            .bind(&columns.new_users)
            .bind(&columns.new_attempts)
            .bind(&columns.old_places)
            .bind(&columns.old_users)
            .bind(&columns.old_attempts)
            .bind(sale.now)
            .bind(&columns.attempts)
            .bind(&columns.attempt_users)
            .bind(&columns.first.attempts)
            .bind(&columns.first.items)
            .bind(&columns.first.quantities)
            .bind(&columns.later.attempts)
            .bind(&columns.later.items)
            .bind(&columns.later.quantities);
        let written = query.fetch_one(connection);
        let old = self.database.time(Statement::WriteCheckouts, written).await?;
        if usize::try_from(old) != Ok(columns.old_users.len()) {
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
    old_places: Vec<Place>,
    old_users: Vec<&'a str>,
    old_attempts: Vec<i64>,
    attempts: Vec<i64>,
    attempt_users: Vec<&'a str>,
    /// Lines of attempts that this batch opens.
    first: LineColumns,
    /// Lines of attempts that were open.
    later: LineColumns,
}

#[derive(Default)]
struct LineColumns {
    attempts: Vec<i64>,
    items: Vec<i32>,
    quantities: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn of(baskets: &'a Baskets<'_>) -> Self {
        let mut columns = Self::default();
        for (user, basket) in baskets {
            if let Some(opened) = basket.opened {
                columns.attempts.push(opened.get());
                columns.attempt_users.push(user);
                match basket.place {
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
                columns.first.push(opened, &basket.set);
            } else if let Some(open) = basket.open {
                columns.later.push(open, &basket.set);
            }
        }
        columns
    }
}

impl LineColumns {
    fn push(&mut self, attempt: AttemptId, set: &BTreeMap<i32, i32>) {
        for (item, quantity) in set {
            self.attempts.push(attempt.get());
            self.items.push(*item);
            self.quantities.push(*quantity);
        }
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
            let Ok(change) = basket.standing.collect(request.line, sale.buyer_limit) else {
                return Collected::OverLimit;
            };
            let Some(attempt) = basket.attempt(&mut ids) else {
                return Collected::OverLimit;
            };
            basket.set.insert(item.0, request.line.quantity.get());
            Collected::Added {
                attempt,
                standing: basket.standing.clone(),
                change,
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

#[cfg(test)]
mod tests {
    use super::super::session::Session;
    use super::*;
    use crate::testing::builders::{collect, line};
    use crate::testing::contracts::{Scene, Terms};
    use crate::testing::servers::PostgresShop;

    /// The wishes as one batch.
    async fn collected(
        shop: &PostgresShop,
        sale: SaleId,
        wishes: &[(&str, i32, i32)],
    ) -> Vec<Collected> {
        let database = shop.database().await;
        let batch = CollectBatch::new(database.clone());
        let wishes = wishes.iter().map(|(who, item, pieces)| collect(sale, who, *item, *pieces));
        let wishes: Vec<_> = wishes.collect();
        Session::default().run(&database, &batch, sale, &wishes).await.unwrap()
    }

    fn attempts(collected: &[Collected]) -> BTreeSet<AttemptId> {
        let added = collected.iter().filter_map(|reply| match reply {
            Collected::Added { attempt, .. } => Some(*attempt),
            _ => None,
        });
        added.collect()
    }

    #[tokio::test]
    async fn a_buyer_who_comes_several_times_in_one_batch_has_one_attempt_and_one_limit() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 100)).await;

        let wishes = [("ann", 1, 6), ("bob", 1, 1), ("ann", 2, 5), ("ann", 3, 4), ("ann", 1, 5)];
        let replies = collected(&shop, scene.sale, &wishes).await;

        assert_eq!(replies[2], Collected::OverLimit);
        assert_eq!(attempts(&replies).len(), 2);
        let standing = scene.added("ann", 2, 1).await.standing;
        assert_eq!(standing.lines, [line(1, 5), line(3, 4), line(2, 1)]);
    }

    #[tokio::test]
    async fn the_same_item_wanted_by_a_whole_batch_is_in_every_checkout() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::unique(1)).await;
        let names: Vec<String> = (0..64).map(|number| format!("buyer-{number}")).collect();

        let wishes: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 1)).collect();
        let replies = collected(&shop, scene.sale, &wishes).await;

        assert_eq!(attempts(&replies).len(), 64);
    }
}
