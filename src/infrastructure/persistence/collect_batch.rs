//! What stands behind every checkout: a batch of lines for one sale, collected together.
//!
//! 1. Read the sale with the clock, the buyers' rows, the lines of their open attempts, and which wanted items are sold out.
//!    In [`Mode::Locked`] the buyers' rows are locked first, by the bytes of their ids, in a statement of its own: one that
//!    waited for a lock still reads what was there before.
//! 2. Decide each request in arrival order.
//! 3. Write. Every buyer's row with its version as it was read: another version means that somebody was faster, and the
//!    statement fails as a whole. So it does for a buyer who had no row and whom somebody else has given one.
//!
//! What was written is remembered ([`own_writes`](super::own_writes)), so that the purchase need not read it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::attempt_ids::AttemptIds;
use super::baskets::lines_by_attempt;
use super::batches::{BatchTransaction, Mode};
use super::database::Database;
use super::error::DatabaseError;
use super::metrics::Statement;
use super::own_writes::OpenCheckout;
use super::partitions::{Partitions, Statements, sql};
use super::place::Place;
use crate::application::ports::{Collect, Collected, StockFacts};
use crate::domain::checkout::{Change, Line, Standing};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::sale::{SaleState, SaleWindow};

const LOCK_BUYERS: &str = r"
    SELECT count(*)
    FROM unnest($2::text[]) AS t(user_id)
    CROSS JOIN LATERAL (
        SELECT 1 FROM buyers{of_sale}
        WHERE sale_id = $1 AND user_id = t.user_id
        OFFSET 0
        FOR NO KEY UPDATE
    ) AS b
";

/// One row of arrays, because a row each costs both sides more than what is in it.
pub(crate) const READ: &str = r"
    WITH buyer AS MATERIALIZED (
        SELECT b.*
        FROM unnest($2::text[]) AS t(user_id)
        CROSS JOIN LATERAL (
            SELECT user_id, ctid AS place, version, open_attempt, bought FROM buyers{of_sale}
            WHERE sale_id = $1 AND user_id = t.user_id
            OFFSET 0
        ) AS b
    )
    SELECT s.starts_at, s.ends_at, s.buyer_limit, s.generation, clock_timestamp() AS now,
           g.sold_out, b.users, b.places, b.versions, b.open, b.bought,
           l.attempts, l.items, l.quantities
    FROM sales AS s
    CROSS JOIN (
        SELECT coalesce(array_agg(t.item_no), '{}') AS sold_out
        FROM unnest($3::int[]) AS t(item_no)
        CROSS JOIN LATERAL (
            SELECT 1 FROM item_stock{of_sale}
            WHERE sale_id = $1 AND item_no = t.item_no AND sold >= stock
            OFFSET 0
        ) AS gone
    ) AS g
    CROSS JOIN (
        SELECT coalesce(array_agg(user_id), '{}') AS users,
               coalesce(array_agg(place), '{}') AS places,
               coalesce(array_agg(version), '{}') AS versions,
               coalesce(array_agg(open_attempt), '{}') AS open,
               coalesce(array_agg(bought), '{}') AS bought
        FROM buyer
    ) AS b
    CROSS JOIN (
        SELECT coalesce(array_agg(l.open_attempt), '{}') AS attempts,
               coalesce(array_agg(l.item_no), '{}') AS items,
               coalesce(array_agg(l.quantity), '{}') AS quantities
        FROM (
            SELECT b.open_attempt, l.item_no, l.quantity
            FROM buyer AS b
            CROSS JOIN LATERAL (
                SELECT item_no, quantity, added_at FROM checkout_items{of_sale}
                WHERE sale_id = $1 AND attempt_id = b.open_attempt
                OFFSET 0
            ) AS l
            ORDER BY l.added_at, l.item_no
            OFFSET 0
        ) AS l
    ) AS l
    WHERE s.id = $1
";

/// Rows that were there before rows that are new, each by the buyers' bytes: no two batches wait for each other in a circle.
/// A line that was not there when the buyer was read is inserted without a look: where somebody else has added the same item
/// meanwhile, the buyer's version is another one, and `hold_batch` has failed the statement before any line is inserted.
pub(crate) const WRITE: &str = r"
    WITH old_buyer AS (
        UPDATE buyers{of_sale} AS b
        SET open_attempt = t.attempt_id, version = $18
        FROM unnest($3::tid[], $4::text[], $5::bigint[], $6::bigint[])
            AS t(place, user_id, version, attempt_id)
        WHERE b.ctid = t.place AND b.user_id = t.user_id AND b.sale_id + 0 = $1
          AND b.version = t.version
        RETURNING 1
    ), held AS MATERIALIZED (
        SELECT count(*) = cardinality($4) AS as_decided FROM old_buyer
    ), new_buyer AS (
        INSERT INTO buyers{of_sale} (sale_id, user_id, open_attempt, bought, buyer_limit, version)
        SELECT $1, t.user_id, t.attempt_id, 0, $2, $18
        FROM held CROSS JOIN unnest($7::text[], $8::bigint[]) AS t(user_id, attempt_id)
        WHERE held.as_decided
    ), attempt AS (
        INSERT INTO checkout_attempts{of_sale} (sale_id, id, user_id, created_at)
        SELECT $1, t.id, t.user_id, $9
        FROM unnest($10::bigint[], $11::text[]) AS t(id, user_id)
    ), new_line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, $9
        FROM unnest($12::bigint[], $13::int[], $14::int[]) AS t(attempt_id, item_no, quantity)
    ), old_line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, $9
        FROM unnest($15::bigint[], $16::int[], $17::int[]) AS t(attempt_id, item_no, quantity)
        ON CONFLICT (sale_id, attempt_id, item_no) DO UPDATE
        SET quantity = EXCLUDED.quantity
    )
    SELECT hold_batch($1, as_decided) FROM held
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

/// The sale as of now, the buyers that have a row, and the lines of their open attempts, column by column.
#[derive(Debug, sqlx::FromRow)]
struct SaleRow {
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    buyer_limit: i32,
    generation: i64,
    now: DateTime<Utc>,
    sold_out: Vec<i32>,
    users: Vec<String>,
    places: Vec<Place>,
    versions: Vec<i64>,
    open: Vec<Option<i64>>,
    bought: Vec<i32>,
    attempts: Vec<i64>,
    items: Vec<i32>,
    quantities: Vec<i32>,
}

/// What a buyer has, and what this batch makes of it.
#[derive(Debug)]
struct Basket<'a> {
    buyer: &'a BuyerId,
    /// Where the buyer's row lies and which version it has, if there is one.
    row: Option<(Place, i64)>,
    open: Option<AttemptId>,
    /// The attempt that this batch opens.
    opened: Option<AttemptId>,
    standing: Standing,
    /// What this batch sets, by item.
    set: BTreeMap<i32, SetLine>,
}

/// A line that a batch sets.
#[derive(Debug, Clone, Copy)]
struct SetLine {
    quantity: i32,
    /// Whether the attempt has a row for the item already.
    is_there: bool,
}

/// The buyers of a batch, by the bytes of their ids.
type Baskets<'a> = BTreeMap<&'a str, Basket<'a>>;

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
        mode: Mode,
    ) -> Result<Vec<Collected>, DatabaseError> {
        let statements = self.partitions.statements(connection, sale_id).await;
        let statements = statements.map_err(|error| self.database.note(error.into()))?;
        let batch = Batch { database: &self.database, statements: &statements, sale_id };
        let buyers = requests.iter().map(|request| &request.buyer);
        let mut baskets: Baskets<'_> =
            buyers.map(|buyer| (buyer.as_str(), Basket::of(buyer))).collect();
        if mode == Mode::Locked {
            batch.lock_buyers(connection, &baskets).await?;
        }
        let sale = batch.read(connection, requests, &mut baskets).await?;
        let window = SaleWindow::new(sale.starts_at, sale.ends_at)
            .ok_or(DatabaseError::Unreadable("sales"))?;
        match window.state_at(sale.now) {
            SaleState::Open => {}
            SaleState::Upcoming => return Ok(vec![Collected::NotStarted; requests.len()]),
            SaleState::Ended => return Ok(vec![Collected::Ended; requests.len()]),
        }
        let closed = baskets.values().filter(|basket| basket.open.is_none()).count();
        let ids = self.ids.take(closed, connection, self.database.company()).await;
        let ids = ids.map_err(|error| self.database.note(error))?;
        let replies = decide(requests, &sale, &mut baskets, ids);
        batch.write(connection, &sale, &baskets).await?;
        // In a transaction it is not committed yet.
        if mode != Mode::Locked {
            batch.remember(&sale, baskets);
        }
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
    async fn lock_buyers(
        &self,
        connection: &mut PgConnection,
        baskets: &Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let users: Vec<&str> = baskets.keys().copied().collect();
        let query = sqlx::query_scalar::<_, i64>(sql(&self.statements[LOCK_BUYERS_AT]))
            .bind(self.sale_id.get())
            .bind(users);
        self.database.time(Statement::LockBuyers, query.fetch_one(connection)).await?;
        Ok(())
    }

    async fn read(
        &self,
        connection: &mut PgConnection,
        requests: &[Collect],
        baskets: &mut Baskets<'_>,
    ) -> Result<SaleRow, DatabaseError> {
        let users: Vec<&str> = baskets.keys().copied().collect();
        let wanted: BTreeSet<i32> = requests.iter().map(|request| request.line.item.0).collect();
        let wanted: Vec<i32> = wanted.into_iter().collect();
        let query = sqlx::query_as(sql(&self.statements[READ_AT]))
            .bind(self.sale_id.get())
            .bind(users)
            .bind(wanted);
        let sale: SaleRow =
            self.database.time(Statement::ReadCheckouts, query.fetch_one(connection)).await?;
        let mut lines = lines_by_attempt(&sale.attempts, &sale.items, &sale.quantities);
        let rows = sale.places.iter().zip(&sale.versions).zip(sale.open.iter().zip(&sale.bought));
        for (user, ((place, version), (open, bought))) in sale.users.iter().zip(rows) {
            let Some(basket) = baskets.get_mut(user.as_str()) else {
                continue;
            };
            basket.row = Some((*place, *version));
            basket.open = open.and_then(AttemptId::new);
            basket.standing.bought = *bought;
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
        if columns.new_lines.attempts.is_empty() && columns.old_lines.attempts.is_empty() {
            return Ok(());
        }
        let query = sqlx::query_scalar::<_, bool>(sql(&self.statements[WRITE_AT]))
            .bind(self.sale_id.get())
            .bind(sale.buyer_limit)
            .bind(&columns.old_places)
            .bind(&columns.old_users)
            .bind(&columns.old_versions)
            .bind(&columns.old_attempts)
            .bind(&columns.new_users)
            .bind(&columns.new_attempts)
            .bind(sale.now)
            .bind(&columns.attempts)
            .bind(&columns.attempt_users)
            .bind(&columns.new_lines.attempts)
            .bind(&columns.new_lines.items)
            .bind(&columns.new_lines.quantities)
            .bind(&columns.old_lines.attempts)
            .bind(&columns.old_lines.items)
            .bind(&columns.old_lines.quantities)
            .bind(sale.version());
        self.database.time(Statement::WriteCheckouts, query.fetch_one(connection)).await?;
        Ok(())
    }

    fn remember(&self, sale: &SaleRow, baskets: Baskets<'_>) {
        let own_writes = self.database.own_writes();
        own_writes.learn(self.sale_id, sale.generation, sale.sold_out.iter().copied().map(ItemNo));
        let written = baskets.into_values().filter(|basket| !basket.set.is_empty());
        own_writes.remember(written.filter_map(|basket| {
            Some(OpenCheckout {
                sale: self.sale_id,
                attempt: basket.opened.or(basket.open)?,
                buyer: basket.buyer.clone(),
                version: sale.version(),
                bought: basket.standing.bought,
                limit: sale.buyer_limit,
                lines: basket.standing.lines,
            })
        }));
    }
}

impl SaleRow {
    /// What a buyer's row that is written now gets as its version.
    fn version(&self) -> i64 {
        self.now.timestamp_micros()
    }
}

/// What is written, column by column; buyers in the order of their bytes.
#[derive(Default)]
struct Columns<'a> {
    new_users: Vec<&'a str>,
    new_attempts: Vec<i64>,
    old_places: Vec<Place>,
    old_users: Vec<&'a str>,
    old_versions: Vec<i64>,
    old_attempts: Vec<i64>,
    attempts: Vec<i64>,
    attempt_users: Vec<&'a str>,
    new_lines: LineColumns,
    old_lines: LineColumns,
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
            let Some(attempt) = basket.opened.or(basket.open).filter(|_| !basket.set.is_empty())
            else {
                continue;
            };
            match basket.row {
                None => {
                    columns.new_users.push(user);
                    columns.new_attempts.push(attempt.get());
                }
                // Also where the attempt stays: the version tells others that its lines have changed.
                Some((place, version)) => {
                    columns.old_places.push(place);
                    columns.old_users.push(user);
                    columns.old_versions.push(version);
                    columns.old_attempts.push(attempt.get());
                }
            }
            if basket.opened.is_some() {
                columns.attempts.push(attempt.get());
                columns.attempt_users.push(user);
            }
            for (item, line) in &basket.set {
                let lines =
                    if line.is_there { &mut columns.old_lines } else { &mut columns.new_lines };
                lines.push(attempt, *item, line.quantity);
            }
        }
        columns
    }
}

impl LineColumns {
    fn push(&mut self, attempt: AttemptId, item: i32, quantity: i32) {
        self.attempts.push(attempt.get());
        self.items.push(item);
        self.quantities.push(quantity);
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
            basket.set(request.line, change);
            Collected::Added {
                attempt,
                standing: basket.standing.clone(),
                change,
                version: sale.version(),
            }
        })
        .collect()
}

impl<'a> Basket<'a> {
    fn of(buyer: &'a BuyerId) -> Self {
        Self {
            buyer,
            row: None,
            open: None,
            opened: None,
            standing: Standing::default(),
            set: BTreeMap::new(),
        }
    }

    fn set(&mut self, line: Line, change: Change) {
        let quantity = line.quantity.get();
        self.set
            .entry(line.item.0)
            .and_modify(|set| set.quantity = quantity)
            .or_insert(SetLine { quantity, is_there: change == Change::Replaced });
    }

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
