//! Plans do not depend on statistics: what the hot statements touch is in proportion to what is asked, on tables that have
//! grown to a million rows since the statements were planned, or before, and that nobody has analysed.
//!
//! Counted by PostgreSQL itself, in rows and pages, never in time.

#![cfg(test)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::application::ports::{
    After, Collect, Collected, ItemReader, SaleBook, SaleFilter, Settled,
};
use crate::config::CatalogueConfig;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::SaleState;
use crate::infrastructure::persistence::batch::session::Session;
use crate::infrastructure::persistence::batch::splitting::{BatchTransaction, Mode};
use crate::infrastructure::persistence::checkout::batch::CollectBatch;
use crate::infrastructure::persistence::pool::clock::DatabaseClock;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::purchase::batch::SettleBatch;
use crate::infrastructure::persistence::purchase::ledger::stored_outcome;
use crate::infrastructure::persistence::sale::items::{CHUNK_OF_ITEMS, PostgresItemReader};
use crate::infrastructure::persistence::sale::store::PostgresSaleBook;
use crate::testing::builders::{attempt_id, buyer, collect, key_use, settle_of};
use crate::testing::contracts::{Scene, Terms, eventually};
use crate::testing::servers::PostgresShop;

/// Rows that each table of the sale grows to.
const ROWS: i64 = 1_000_000;
/// Items of a sale before it grows.
const ITEMS: i32 = 10;
/// How often a sale is looked at.
const LOOKS: i64 = 8;
/// Sales that ended long ago.
const OLD_SALES: i64 = 20_000;
/// Number of the attempt before those that grow, far from those that instances take.
const ATTEMPTS: i64 = 10_000_000;
/// All ways in which a batch may meet others.
const MODES: [Mode; 3] = [Mode::AtOnce, Mode::Among, Mode::Locked];
/// Requests of a batch.
const BATCH: i64 = 64;
/// Between the rows that a batch asks for.
const STRIDE: i64 = 15_000;
/// Rows of one table that may be read for each thing that is asked for.
const ROWS_EACH: i64 = 4;
/// Pages of one table and its indexes that may be touched for it. Whatever reads an index of a million rows from its
/// beginning to its end touches four times as many for a batch.
const PAGES_EACH: i64 = 16;

/// What one table was asked for.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Work {
    relation: String,
    /// Reads from the beginning to the end.
    scans: i64,
    /// Rows that were read.
    rows: i64,
    /// Pages that were touched, those of its indexes too.
    pages: i64,
}

/// What was asked of every table and of its indexes: by this transaction, and by what its session has not reported yet
/// (`xact_`), or by all sessions that have.
fn work_by(counters: &str) -> String {
    format!(
        "SELECT t.relname::text AS relation,
                pg_stat_get_{counters}numscans(t.oid) AS scans,
                (pg_stat_get_{counters}tuples_returned(t.oid)
                    + sum(pg_stat_get_{counters}tuples_fetched(r.oid)))::bigint AS rows,
                sum(pg_stat_get_{counters}blocks_fetched(r.oid))::bigint AS pages
         FROM pg_class AS t
         CROSS JOIN LATERAL (
             SELECT t.oid UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = t.oid
         ) AS r(oid)
         WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r'
         GROUP BY t.oid, t.relname
         ORDER BY t.oid"
    )
}

async fn work_so_far(connection: &mut PgConnection) -> Result<Vec<Work>, sqlx::Error> {
    sqlx::query_as(AssertSqlSafe(work_by("xact_"))).fetch_all(connection).await
}

fn between(before: &[Work], after: &[Work]) -> Vec<Work> {
    let pairs = before.iter().zip(after);
    let work = pairs.map(|(before, after)| {
        assert_eq!(before.relation, after.relation);
        Work {
            relation: after.relation.clone(),
            scans: after.scans - before.scans,
            rows: after.rows - before.rows,
            pages: after.pages - before.pages,
        }
    });
    work.filter(|work| work.pages > 0).collect()
}

/// A transaction that is watched from within.
struct Watched<T> {
    transaction: T,
    /// How its batches meet others, in place of what the session decides.
    mode: Mode,
    work: Mutex<Vec<Work>>,
}

impl<T> Watched<T> {
    fn new(transaction: T) -> Self {
        Self { transaction, mode: Mode::AtOnce, work: Mutex::default() }
    }

    /// What the last one that came to its end did.
    fn work(&self) -> Vec<Work> {
        self.work.lock().unwrap().clone()
    }
}

#[async_trait]
impl<T: BatchTransaction> BatchTransaction for Watched<T> {
    type Request = T::Request;
    type Reply = T::Reply;
    const WHAT: &'static str = T::WHAT;

    fn needs_transaction(request: &T::Request) -> bool {
        T::needs_transaction(request)
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        sale: SaleId,
        requests: &[T::Request],
        mode: Mode,
    ) -> Result<Vec<T::Reply>, DatabaseError> {
        let mode = if requests.iter().any(T::needs_transaction) { mode } else { self.mode };
        let before = work_so_far(&mut *connection).await?;
        let replies = self.transaction.run(connection, sale, requests, mode).await?;
        let after = work_so_far(connection).await?;
        *self.work.lock().unwrap() = between(&before, &after);
        Ok(replies)
    }

    fn forget(&self, sale: SaleId) {
        self.transaction.forget(sale);
    }
}

/// A writer of each kind, each on a connection that it keeps.
struct Writers {
    database: Database,
    collecting: Watched<CollectBatch>,
    settling: Watched<SettleBatch>,
    collects: Session,
    settles: Session,
}

impl Writers {
    async fn of(shop: &PostgresShop) -> Self {
        let database = shop.database().await;
        Self {
            collecting: Watched::new(CollectBatch::new(database.clone())),
            settling: Watched::new(SettleBatch::new(database.clone())),
            collects: Session::default(),
            settles: Session::default(),
            database,
        }
    }

    /// What follows is done in this mode.
    fn meet(&mut self, mode: Mode) -> &mut Self {
        (self.collecting.mode, self.settling.mode) = (mode, mode);
        self
    }

    async fn collect(&mut self, sale: SaleId, wishes: &[Collect]) -> Vec<Collected> {
        self.collects.run(&self.database, &self.collecting, sale, wishes).await.unwrap()
    }

    async fn settle(&mut self, sale: SaleId, attempts: &[AttemptId]) -> Vec<Settled> {
        let wanted: Vec<_> = attempts.iter().map(|attempt| settle_of(sale, *attempt)).collect();
        self.settles.run(&self.database, &self.settling, sale, &wanted).await.unwrap()
    }

    /// Every statement, once, for a sale of which there is next to nothing.
    async fn trade_a_little(&mut self, sale: SaleId) {
        let wish = |item| collect(sale, "ann", item, 1);
        self.collect(sale, &[wish(1)]).await;
        let added = self.collect(sale, &[wish(2)]).await;
        for _ in 0..2 {
            self.settle(sale, &[attempt(&added[0])]).await;
        }
        self.collect(sale, &[wish(3)]).await;
    }

    /// A batch of every kind for the sale that has grown; `round` chooses rows that nobody else asked for.
    async fn trade_much(&mut self, sale: SaleId, round: i64) {
        let rows = (0..BATCH).map(|n| (n, n * STRIDE + 10 * round + 2));
        let wishes = rows.clone().map(|(n, row)| {
            let who = match n % 3 {
                0 => format!("new-{row}"),
                1 => grown_buyer(row),
                _ => grown_buyer(row + 1),
            };
            collect(sale, &who, i32::try_from(row).unwrap(), 1)
        });
        let wishes: Vec<_> = wishes.collect();
        let added = self.collect(sale, &wishes).await;
        assert_in_proportion("checkouts", BATCH, &self.collecting.work());

        let alone = Collect { buyer: buyer(&format!("alone-{round}")), ..wishes[0].clone() };
        self.collect(sale, &[alone]).await;
        assert_in_proportion("checkouts of somebody who is alone", 1, &self.collecting.work());

        let keyed = rows.clone().map(|(n, row)| {
            let wanted = collect(sale, &grown_buyer(row + 6), i32::try_from(row).unwrap(), 1);
            Collect { key: Some(key_use(&format!("{round}-{n}"), "a checkout")), ..wanted }
        });
        let keyed: Vec<_> = keyed.collect();
        self.collect(sale, &keyed).await;
        assert_in_proportion("checkouts with keys", BATCH, &self.collecting.work());

        let own: Vec<_> = added.iter().map(attempt).collect();
        let settled = self.settle(sale, &own).await;
        assert!(settled.iter().all(|reply| matches!(reply, Settled::Now(_))));
        let work = self.settling.work();
        assert_in_proportion("purchases of what was written here", BATCH, &work);
        let is_read = work.iter().any(|table| table.relation.starts_with("checkout_"));
        assert_eq!(is_read, self.settling.mode != Mode::AtOnce, "{work:?}");

        let open: Vec<_> = rows.clone().map(|(_, row)| attempt_id(ATTEMPTS + row + 3)).collect();
        let settled = self.settle(sale, &open).await;
        assert!(settled.iter().all(|reply| matches!(reply, Settled::Now(_))));
        assert_in_proportion("purchases", BATCH, &self.settling.work());

        let bought: Vec<_> = rows.map(|(_, row)| attempt_id(ATTEMPTS + row + 4)).collect();
        let repeated = self.settle(sale, &bought).await;
        assert!(repeated.iter().all(|reply| matches!(reply, Settled::Before(_))));
        assert_in_proportion("repeated purchases", BATCH, &self.settling.work());
    }
}

/// What instances read of a sale, on the one connection that they need for it.
struct Readers {
    database: Database,
    sales: PostgresSaleBook,
    items: PostgresItemReader,
}

impl Readers {
    async fn of(shop: &PostgresShop) -> Self {
        let database = shop.narrow_database().await;
        let texts = CatalogueConfig { item_name: String::new(), image_url: String::new() };
        Self {
            sales: PostgresSaleBook::new(database.clone(), Arc::new(DatabaseClock::new()), texts),
            items: PostgresItemReader::new(database.clone()),
            database,
        }
    }

    /// Reads all of a small sale, so often that PostgreSQL has plans for any values.
    async fn look(&self, sale: SaleId) {
        for _ in 0..LOOKS {
            assert_eq!(self.sales.live().await.unwrap().len(), 2);
            let catalogue = self.items.catalogue(sale).await.unwrap();
            assert!(catalogue.item(ItemNo(ITEMS)).is_some());
            self.items.stock(sale).await.unwrap();
            self.items.named(sale, &[ItemNo(1), ItemNo(2)]).await.unwrap();
            stored_outcome(&self.database, sale, attempt_id(1)).await.unwrap();
            for state in [None, Some(SaleState::Open), Some(SaleState::Upcoming)] {
                let wanted = SaleFilter { state, since: None };
                self.sales.list(wanted, After::beginning(2)).await.unwrap();
            }
        }
    }

    /// Reads as many items of a catalogue as a batch has requests, from its middle.
    async fn look_into(&self, sale: SaleId) {
        let (last, count) = [ROWS / 2, BATCH].map(|number| i32::try_from(number).unwrap()).into();
        let chunk = sqlx::query(CHUNK_OF_ITEMS).bind(sale.get()).bind(last).bind(count);
        let items = chunk.fetch_all(self.database.pool()).await.unwrap();
        assert_eq!(i64::try_from(items.len()), Ok(BATCH));
        let after = After { entry: Some(ItemNo(last)), limit: count.unsigned_abs() };
        let items = self.items.list(sale, false, after).await.unwrap().entries;
        assert_eq!(i64::try_from(items.len()), Ok(BATCH));
    }
}

fn attempt(collected: &Collected) -> AttemptId {
    let Collected::Added { attempt, .. } = collected else { panic!("{collected:?}") };
    *attempt
}

fn grown_buyer(row: i64) -> String {
    format!("user-{row:07}")
}

/// Fails where more was touched than belongs to what was asked for.
#[track_caller]
fn assert_in_proportion(what: &str, asked: i64, work: &[Work]) {
    assert!(!work.is_empty(), "{what} did nothing");
    for table in work {
        let is_little = table.rows <= ROWS_EACH * asked && table.pages <= PAGES_EACH * asked;
        assert!(table.scans == 0 && is_little, "too much work for {asked} {what}: {table:?}");
    }
}

/// Nobody analyses these tables.
const LEAVE_ALONE: &str = r"
    DO $$
    DECLARE t regclass;
    BEGIN
        FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', t);
        END LOOP;
    END
    $$
";

/// A million of everything: half of the buyers have bought, the others have an open attempt.
async fn grow(shop: &PostgresShop, sale: SaleId) {
    let numbers = format!("generate_series({}, {ROWS}) AS n", ITEMS + 1);
    let buyers = format!("generate_series(1, {ROWS}) AS n");
    let (sale, who) = (sale.get(), "'user-' || lpad(n::text, 7, '0')");
    let decided = format!("{ATTEMPTS} + n + n % 2 * {ROWS}");
    let statements = [
        format!("INSERT INTO items SELECT {sale}, n, n::text, 'a name', 'a link' FROM {numbers}"),
        format!("INSERT INTO item_stock SELECT {sale}, n, 5 FROM {numbers}"),
        format!(
            "INSERT INTO buyers SELECT {sale}, {who}, CASE WHEN n % 2 = 1 THEN {ATTEMPTS} + n END, 0, 10
             FROM {buyers}"
        ),
        format!(
            "INSERT INTO checkout_attempts SELECT {sale}, {ATTEMPTS} + n, {who}, now() FROM {buyers}"
        ),
        format!(
            "INSERT INTO checkout_items SELECT {sale}, {ATTEMPTS} + n, n, 1, now() FROM {buyers}"
        ),
        format!("INSERT INTO purchases SELECT {sale}, {decided}, {who}, now(), 1, 0 FROM {buyers}"),
        format!("INSERT INTO purchase_items SELECT {sale}, {decided}, n, 1, 'sold' FROM {buyers}"),
        format!(
            "INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items)
             SELECT 1000 + n, n::text, 'a sale', at, at + interval '1 hour', 10, 1
             FROM generate_series(1, {OLD_SALES}) AS n,
                  LATERAL (SELECT now() - n * interval '1 hour' - interval '2 days') AS t(at)"
        ),
    ];
    // A session like the service's own: it has ended, and reported what it did, before anybody is measured.
    let mut connection = shop.pool.acquire().await.unwrap().detach();
    let name = "SET application_name = 'flash-sale'";
    sqlx::raw_sql(name).execute(&mut connection).await.unwrap();
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// What sessions have reported once no more than so many of the service's are left.
async fn reported(shop: &PostgresShop, left: i64) -> Vec<Work> {
    eventually("sessions end", async || {
        let sessions = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'flash-sale'";
        sqlx::query_scalar::<_, i64>(sessions).fetch_one(&shop.pool).await.unwrap() == left
    })
    .await;
    sqlx::query_as(AssertSqlSafe(work_by(""))).fetch_all(&shop.pool).await.unwrap()
}

/// Fails where reading touches more than was read. No other session of the service is left.
async fn assert_little_is_read(
    shop: &PostgresShop,
    readers: Readers,
    (small, large): (SaleId, SaleId),
) {
    let before = reported(shop, 1).await;
    readers.look(small).await;
    readers.look_into(large).await;
    readers.database.close().await;
    let work = between(&before, &reported(shop, 0).await);
    assert_in_proportion("items that were looked at", LOOKS * i64::from(ITEMS), &work);
}

#[tokio::test]
async fn on_tables_that_grew_from_nothing_to_a_million_rows_nobody_touches_more_than_was_asked_for()
{
    let shop = PostgresShop::open().await;
    shop.execute(LEAVE_ALONE).await;
    let small = Scene::open(&shop, Terms::stocked(ITEMS, 5)).await.sale;
    shop.execute(LEAVE_ALONE).await;
    let large = Scene::open(&shop, Terms::stocked(ITEMS, 5)).await.sale;
    let (early_readers, mut early) = (Readers::of(&shop).await, Writers::of(&shop).await);
    early_readers.look(small).await;
    for mode in MODES {
        early.meet(mode).trade_a_little(small).await;
    }

    grow(&shop, large).await;

    let mut late = Writers::of(&shop).await;
    for (mode, round) in MODES.into_iter().zip(0..) {
        early.meet(mode).trade_much(large, round).await;
        late.meet(mode).trade_much(large, round + 10).await;
    }
    drop((early, late));
    assert_little_is_read(&shop, early_readers, (small, large)).await;
    assert_little_is_read(&shop, Readers::of(&shop).await, (small, large)).await;
}
