//! What stands behind every checkout: a batch of lines for one sale, collected together.
//!
//! 1. Read the sale with the clock, the buyers' rows, the lines of their open attempts, and which wanted items are sold out.
//!    In [`Mode::Locked`] the buyers' rows are locked first, by the bytes of their ids, in a statement of its own: one that
//!    waited for a lock still reads what was there before.
//! 2. Decide each request in arrival order.
//! 3. Write. Every buyer's row with its version as it was read: another version means that somebody was faster, and the
//!    statement fails as a whole. So it does for a buyer who had no row and whom somebody else has given one.
//!
//! A buyer who is alone is taken for somebody new, who has nothing that could be read: that is one statement.
//!
//! What was written is remembered ([`own_writes`](super::own_writes)), so that the purchase need not read it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::attempt_ids::AttemptIds;
use super::baskets::lines_by_attempt;
use super::batches::{BatchTransaction, Mode};
use super::collect_sql;
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

/// Collects lines, many in a transaction.
pub(super) struct CollectBatch {
    database: Database,
    ids: AttemptIds,
    partitions: Partitions<4>,
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

/// The first checkout of a buyer, as it was written.
#[derive(Debug, sqlx::FromRow)]
struct FirstRow {
    buyer_limit: i32,
    generation: i64,
    version: i64,
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
        if mode == Mode::AtOnce
            && let [only] = requests
            && let Some(collected) = self.collect_first(connection, &batch, only).await?
        {
            return Ok(vec![collected]);
        }
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
        let partitions = Partitions::new(collect_sql::STATEMENTS);
        Self { database, ids: AttemptIds::default(), partitions }
    }

    /// Takes somebody who is alone for somebody new, in one round trip in place of two; `None` where that is not so, or
    /// anything else is in the way: then nothing has happened.
    async fn collect_first(
        &self,
        connection: &mut PgConnection,
        batch: &Batch<'_>,
        wanted: &Collect,
    ) -> Result<Option<Collected>, DatabaseError> {
        if self.database.own_writes().knows(batch.sale_id, &wanted.buyer) {
            return Ok(None);
        }
        let ids = self.ids.take(1, connection, self.database.company()).await;
        let ids = ids.map_err(|error| self.database.note(error))?;
        let Some(attempt) = ids.first() else {
            return Ok(None);
        };
        let Some(first) = batch.write_first(connection, wanted, *attempt).await? else {
            return Ok(None);
        };
        let standing = Standing { lines: vec![wanted.line], bought: 0 };
        let own_writes = self.database.own_writes();
        own_writes.learn(batch.sale_id, first.generation, []);
        own_writes.remember([OpenCheckout {
            sale: batch.sale_id,
            attempt: *attempt,
            buyer: wanted.buyer.clone(),
            version: first.version,
            bought: 0,
            limit: first.buyer_limit,
            lines: standing.lines.clone(),
        }]);
        let (change, version) = (Change::Added, first.version);
        Ok(Some(Collected::Added { attempt: *attempt, standing, change, version }))
    }
}

/// The statements of one batch.
struct Batch<'s> {
    database: &'s Database,
    statements: &'s Statements<4>,
    sale_id: SaleId,
}

impl Batch<'_> {
    async fn lock_buyers(
        &self,
        connection: &mut PgConnection,
        baskets: &Baskets<'_>,
    ) -> Result<(), DatabaseError> {
        let users: Vec<&str> = baskets.keys().copied().collect();
        let query =
            sqlx::query_scalar::<_, i64>(sql(&self.statements[collect_sql::LOCK_BUYERS_AT]))
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
        let query = sqlx::query_as(sql(&self.statements[collect_sql::READ_AT]))
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

    async fn write_first(
        &self,
        connection: &mut PgConnection,
        wanted: &Collect,
        attempt: AttemptId,
    ) -> Result<Option<FirstRow>, DatabaseError> {
        let query = sqlx::query_as(sql(&self.statements[collect_sql::WRITE_FIRST_AT]))
            .bind(self.sale_id.get())
            .bind(wanted.buyer.as_str())
            .bind(attempt.get())
            .bind(wanted.line.item.0)
            .bind(wanted.line.quantity.get());
        self.database.time(Statement::WriteCheckouts, query.fetch_optional(connection)).await
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
        let query = sqlx::query_scalar::<_, bool>(sql(&self.statements[collect_sql::WRITE_AT]))
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
        let known = baskets.values().filter(|basket| basket.row.is_some());
        own_writes.meet(self.sale_id, known.map(|basket| basket.buyer));
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
    async fn who_comes_alone_for_the_first_time_gets_what_everybody_gets() {
        let shop = PostgresShop::open().await;
        let scene = Scene::open(&shop, Terms::stocked(3, 9)).await;
        shop.execute("UPDATE item_stock SET sold = stock WHERE item_no = 3").await;
        let alone = async |who, item, pieces| {
            collected(&shop, scene.sale, &[(who, item, pieces)]).await.remove(0)
        };

        let told = [
            alone("ann", 1, 2).await,
            // Nobody here has met her yet: she has a row all the same.
            alone("ann", 2, 1).await,
            alone("bob", 3, 1).await,
            alone("eve", 1, 11).await,
        ];

        let Collected::Added { standing, change, .. } = &told[0] else { panic!("{told:?}") };
        assert_eq!((&standing.lines[..], *change), (&[line(1, 2)][..], Change::Added));
        let Collected::Added { standing, .. } = &told[1] else { panic!("{told:?}") };
        assert_eq!(standing.lines, [line(1, 2), line(2, 1)]);
        assert!(matches!(told[2], Collected::SoldOut(_)), "{told:?}");
        assert_eq!(told[3], Collected::OverLimit);
        let counted = "SELECT count(*) FROM buyers";
        assert_eq!(sqlx::query_scalar::<_, i64>(counted).fetch_one(&shop.pool).await.unwrap(), 1);
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
