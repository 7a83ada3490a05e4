//! Plans do not depend on statistics: the work of the hot statements is in proportion to the requests, on tables that were never
//! analysed and have grown to a million rows, before or after the statements were planned.
//!
//! PostgreSQL counts the work, in rows and pages; nothing is timed.

#![cfg(test)]

use std::sync::Arc;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection};

use super::work::{Measured, Work, assert_in_proportion, between, reported};
use crate::application::ports::{
    Collect, Collected, Cursor, ItemReader, SaleFilter, SaleStore, Settled,
};
use crate::config::CatalogueConfig;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::SaleState;
use crate::infrastructure::persistence::batch::context::BatchContext;
use crate::infrastructure::persistence::batch::session;
use crate::infrastructure::persistence::batch::transaction::{BatchMode, Served};
use crate::infrastructure::persistence::checkout::batch::CollectBatch;
use crate::infrastructure::persistence::explain;
use crate::infrastructure::persistence::explain::plans::{PlanFormat, Wanted};
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;
use crate::infrastructure::persistence::partitions::for_partition;
use crate::infrastructure::persistence::pool::database::Database;
use crate::infrastructure::persistence::pool::metrics::Statement;
use crate::infrastructure::persistence::purchase::batch::SettleBatch;
use crate::infrastructure::persistence::purchase::outcome_reader::OutcomeReader;
use crate::infrastructure::persistence::sale::clock::DatabaseClock;
use crate::infrastructure::persistence::sale::items::{CHUNK_OF_ITEMS, PostgresItemReader};
use crate::infrastructure::persistence::sale::store::PostgresSaleStore;
use crate::testing::builders::{attempt_id, buyer, collect, keyed_request, settle_of};
use crate::testing::contracts::{Scene, Terms, eventually};
use crate::testing::servers::PostgresShop;

/// Number of rows that each table of the sale grows to.
const ROWS: i64 = 1_000_000;
/// Number of items of a sale before it grows.
const ITEMS: i32 = 10;
/// How often a sale is read.
const READS: i64 = 8;
/// Number of sales that ended long ago.
const OLD_SALES: i64 = 20_000;
/// Number before those of the generated attempts, far from those that instances take.
const ATTEMPTS: i64 = 10_000_000;
/// All modes of a batch.
const MODES: [BatchMode; 3] = [BatchMode::Optimistic, BatchMode::Contended, BatchMode::Pessimistic];
/// Number of requests in a batch.
const BATCH: i64 = 64;
/// Tables that stay small, whatever is sold: each has a row for an instance, an endpoint, a schedule or the whole installation.
const SMALL_TABLES: [&str; 7] = [
    "event_sinks",
    "job_workers",
    "outbox_order",
    "schedules",
    "webhook_replays",
    "webhooks",
    "epochs",
];
/// Distance between the rows that a batch asks for.
const STRIDE: i64 = 15_000;
/// A writer of each kind, on the same connection.
struct Writers {
    context: BatchContext,
    collecting: Measured<CollectBatch>,
    settling: Measured<SettleBatch>,
}

impl Writers {
    async fn of(shop: &PostgresShop) -> Self {
        // One connection, which keeps the plans that it made while the tables were small.
        let context = BatchContext::new(shop.single_connection_database().await);
        Self {
            collecting: Measured::new(CollectBatch::new(context.clone())),
            settling: Measured::new(SettleBatch::new(context.clone())),
            context,
        }
    }

    /// Runs the batches that follow in this mode.
    fn in_mode(&mut self, mode: BatchMode) -> &mut Self {
        (self.collecting.mode, self.settling.mode) = (mode, mode);
        self
    }

    async fn collect(&mut self, sale: SaleId, requests: &[MaybeKeyed<Collect>]) -> Vec<Collected> {
        let served = session::run(&self.context, &self.collecting, sale, requests).await.unwrap();
        served.into_iter().filter_map(Served::reply).flatten().collect()
    }

    /// Statements so far that read a batch of checkouts.
    fn reads(&self) -> u64 {
        self.context.database.metrics.count(Statement::ReadCheckouts)
    }

    async fn settle(&mut self, sale: SaleId, attempts: &[AttemptId]) -> Vec<Settled> {
        let requests = attempts.iter().map(|attempt| settle_of(sale, *attempt));
        let requests: Vec<_> = requests.map(MaybeKeyed::unkeyed).collect();
        let served = session::run(&self.context, &self.settling, sale, &requests).await.unwrap();
        served.into_iter().filter_map(Served::reply).flatten().collect()
    }

    /// Runs every statement once, for a small sale.
    async fn trade_a_little(&mut self, sale: SaleId) {
        let request = |item| MaybeKeyed::unkeyed(collect(sale, "ann", item, 1));
        self.collect(sale, &[request(1)]).await;
        let added = self.collect(sale, &[request(2)]).await;
        for _ in 0..2 {
            self.settle(sale, &[attempt(&added[0])]).await;
        }
        self.collect(sale, &[request(3)]).await;
    }

    /// Runs a batch of every kind for the sale that has grown. Each `round` uses rows of its own.
    async fn trade_much(&mut self, sale: SaleId, round: i64) {
        let rows = (0..BATCH).map(|n| (n, n * STRIDE + 10 * round + 2));
        let requests = rows.clone().map(|(n, row)| {
            let name = match n % 3 {
                0 => format!("new-{row}"),
                1 => grown_buyer(row),
                _ => grown_buyer(row + 1),
            };
            MaybeKeyed::unkeyed(collect(sale, &name, i32::try_from(row).unwrap(), 1))
        });
        let requests: Vec<_> = requests.collect();
        let added = self.collect(sale, &requests).await;
        assert_in_proportion("checkouts", BATCH, &self.collecting.work());

        let more = requests.iter().zip(rows.clone()).map(|(keyed, (_, row))| {
            let item = i32::try_from(row).unwrap();
            MaybeKeyed::unkeyed(collect(sale, keyed.request.buyer.as_str(), item, 2))
        });
        self.context.contention.forget();
        let reads = self.reads();
        self.collect(sale, &more.collect::<Vec<_>>()).await;
        let is_read = self.reads() > reads;
        assert_eq!(is_read, self.collecting.mode != BatchMode::Optimistic);
        let work = self.collecting.work();
        assert_in_proportion("checkouts of remembered buyers", BATCH, &work);

        let buyer = buyer(&format!("alone-{round}"));
        let alone = Collect { buyer, ..requests[0].request.clone() };
        self.collect(sale, &[MaybeKeyed::unkeyed(alone)]).await;
        assert_in_proportion("checkouts alone in their batch", 1, &self.collecting.work());

        let keyed = rows.clone().map(|(n, row)| {
            let request = collect(sale, &grown_buyer(row + 6), i32::try_from(row).unwrap(), 1);
            MaybeKeyed::keyed(request, keyed_request(&format!("{round}-{n}"), "a checkout"))
        });
        let keyed: Vec<_> = keyed.collect();
        self.collect(sale, &keyed).await;
        assert_in_proportion("checkouts with keys", BATCH, &self.collecting.work());

        let recent: Vec<_> = added.iter().map(attempt).collect();
        let settled = self.settle(sale, &recent).await;
        assert!(settled.iter().all(|reply| matches!(reply, Settled::Now(_))));
        let work = self.settling.work();
        assert_in_proportion("purchases of recent checkouts", BATCH, &work);
        let is_read = work.iter().any(|table| table.relation.starts_with("checkout_"));
        assert_eq!(is_read, self.settling.mode != BatchMode::Optimistic, "{work:?}");

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

/// The reads of instances, on one connection.
struct Readers {
    database: Database,
    sales: PostgresSaleStore,
    items: PostgresItemReader,
    outcomes: OutcomeReader,
}

impl Readers {
    async fn of(shop: &PostgresShop) -> Self {
        let database = shop.single_connection_database().await;
        let texts = CatalogueConfig { item_name: String::new(), image_url: String::new() };
        Self {
            sales: PostgresSaleStore::new(database.clone(), Arc::new(DatabaseClock::new()), texts),
            items: PostgresItemReader::new(database.clone()),
            outcomes: OutcomeReader::new(database.clone()),
            database,
        }
    }

    /// Reads all of a small sale, so often that PostgreSQL has generic plans.
    async fn read_all(&self, sale: SaleId) {
        for _ in 0..READS {
            assert_eq!(self.sales.live().await.unwrap().len(), 2);
            let catalogue = self.items.catalogue(sale).await.unwrap();
            assert!(catalogue.item(ItemNo(ITEMS)).is_some());
            self.items.stock(sale).await.unwrap();
            self.items.by_number(sale, &[ItemNo(1), ItemNo(2)]).await.unwrap();
            self.outcomes.one(sale, attempt_id(1)).await.unwrap();
            for state in [None, Some(SaleState::Open), Some(SaleState::Upcoming)] {
                let filter = SaleFilter { state, since: None };
                self.sales.list(filter, Cursor::beginning(2)).await.unwrap();
            }
        }
    }

    /// Reads as many items as a batch has requests, from the middle of a catalogue.
    async fn read_middle(&self, sale: SaleId) {
        let (last, count) = [ROWS / 2, BATCH].map(|number| i32::try_from(number).unwrap()).into();
        let chunk = AssertSqlSafe(for_partition(CHUNK_OF_ITEMS, "_from_0"));
        let chunk = sqlx::query_scalar(chunk).bind(sale.get()).bind(last).bind(count);
        let items: Vec<i32> = chunk.fetch_one(self.database.pool()).await.unwrap();
        assert_eq!(i64::try_from(items.len()), Ok(BATCH));
        let after = Cursor { entry: Some(ItemNo(last)), limit: count.unsigned_abs() };
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

/// Keeps the tables from being analysed.
const DISABLE_AUTOVACUUM: &str = r"
    DO $$
    DECLARE t regclass;
    BEGIN
        FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', t);
        END LOOP;
    END
    $$
";

/// Generates a million rows of everything: half of the buyers have bought, the others have an open attempt.
async fn grow(shop: &PostgresShop, sale: SaleId) {
    let numbers = format!("generate_series({}, {ROWS}) AS n", ITEMS + 1);
    let buyers = format!("generate_series(1, {ROWS}) AS n");
    let (sale, name) = (sale.get(), "'user-' || lpad(n::text, 7, '0')");
    let decided = format!("{ATTEMPTS} + n + n % 2 * {ROWS}");
    let statements = [
        format!("INSERT INTO items SELECT {sale}, n, n::text, 'a name', 'a link' FROM {numbers}"),
        format!("INSERT INTO item_stock SELECT {sale}, n, 5 FROM {numbers}"),
        format!(
            "INSERT INTO buyers SELECT {sale}, {name}, CASE WHEN n % 2 = 1 THEN {ATTEMPTS} + n END, 0, 10
             FROM {buyers}"
        ),
        format!(
            "INSERT INTO checkout_attempts SELECT {sale}, {ATTEMPTS} + n, {name}, now() FROM {buyers}"
        ),
        format!(
            "INSERT INTO checkout_items SELECT {sale}, {ATTEMPTS} + n, n, 1, now() FROM {buyers}"
        ),
        format!(
            "INSERT INTO purchases SELECT {sale}, {decided}, {name}, now(), 1, 0, ARRAY[n], '{{1}}', 's'
             FROM {buyers}"
        ),
        format!(
            "INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items)
             SELECT 1000 + n, n::text, 'a sale', at, at + interval '1 hour', 10, 1
             FROM generate_series(1, {OLD_SALES}) AS n,
                  LATERAL (SELECT now() - n * interval '1 hour' - interval '2 days') AS t(at)"
        ),
    ];
    // A session with the service's name, which has ended and reported its work before anything is measured.
    let mut connection = shop.pool.acquire().await.unwrap().detach();
    let name = "SET application_name = 'flash-sale'";
    sqlx::raw_sql(name).execute(&mut connection).await.unwrap();
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// The reported work, once only `left` of the service's sessions are left.
async fn reported_once(shop: &PostgresShop, left: i64) -> Vec<Work> {
    eventually("sessions end", async || {
        let sessions = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'flash-sale'";
        sqlx::query_scalar::<_, i64>(sessions).fetch_one(&shop.pool).await.unwrap() == left
    })
    .await;
    reported(&shop.pool).await
}

/// Fails where the work of reads is out of proportion. No other session of the service is left.
async fn assert_little_is_read(
    shop: &PostgresShop,
    readers: Readers,
    (small, large): (SaleId, SaleId),
) {
    let before = reported_once(shop, 1).await;
    readers.read_all(small).await;
    readers.read_middle(large).await;
    readers.database.close().await;
    let work = between(&before, &reported_once(shop, 0).await);
    assert_in_proportion("items read", READS * i64::from(ITEMS), &work);
}

/// Fails where a named statement reads a table from its beginning to its end.
async fn assert_nothing_is_scanned(shop: &PostgresShop) {
    let statements: Vec<_> = explain::all().collect();
    let wanted = Wanted { analyze: false, format: PlanFormat::Json };
    let database = shop.database().await;
    for explained in explain::plans::explain(&database, &statements, wanted).await.unwrap() {
        let plan = explained.plan.unwrap();
        let mut scanned = Vec::new();
        find_scans(&plan, &mut scanned);
        scanned.retain(|table| !SMALL_TABLES.contains(&table.as_str()));
        assert!(scanned.is_empty(), "{} scans {scanned:?}: {plan:#}", explained.name);
    }
}

/// The tables that a plan scans.
fn find_scans(plan: &Value, found: &mut Vec<String>) {
    match plan {
        Value::Array(parts) => parts.iter().for_each(|part| find_scans(part, found)),
        Value::Object(node) => {
            if node.get("Node Type").is_some_and(|kind| kind == "Seq Scan") {
                found.push(node["Relation Name"].as_str().unwrap().to_owned());
            }
            node.values().for_each(|part| find_scans(part, found));
        }
        _ => {}
    }
}

#[tokio::test]
async fn on_tables_that_grew_to_a_million_rows_the_work_is_in_proportion_to_the_requests() {
    let shop = PostgresShop::open().await;
    shop.execute(DISABLE_AUTOVACUUM).await;
    let small = Scene::open(&shop, Terms::stocked(ITEMS, 5)).await.sale;
    shop.execute(DISABLE_AUTOVACUUM).await;
    let large = Scene::open(&shop, Terms::stocked(ITEMS, 5)).await.sale;
    let (early_readers, mut early) = (Readers::of(&shop).await, Writers::of(&shop).await);
    early_readers.read_all(small).await;
    for mode in MODES {
        early.in_mode(mode).trade_a_little(small).await;
    }

    grow(&shop, large).await;

    let mut late = Writers::of(&shop).await;
    for (mode, round) in MODES.into_iter().zip(0..) {
        early.in_mode(mode).trade_much(large, round).await;
        late.in_mode(mode).trade_much(large, round + 10).await;
    }
    drop((early, late));
    assert_little_is_read(&shop, early_readers, (small, large)).await;
    assert_little_is_read(&shop, Readers::of(&shop).await, (small, large)).await;
    assert_nothing_is_scanned(&shop).await;
}

#[tokio::test]
async fn whoever_joins_the_lines_of_outcomes_has_each_outcome_read_once() {
    let shop = PostgresShop::open().await;
    Scene::open(&shop, Terms::stocked(1, 1)).await;
    let joined = "EXPLAIN SELECT user_id, item_id, quantity
                  FROM purchase_items JOIN items USING (sale_id, item_no) WHERE outcome = 'sold'";

    let plan: Vec<String> = sqlx::query_scalar(joined).fetch_all(&shop.pool).await.unwrap();

    let plan = plan.join("\n");
    assert!(plan.contains("ProjectSet") && !plan.contains("Function Scan"), "{plan}");
}
