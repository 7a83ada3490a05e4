//! Two cells in one process: each sells its own sales in its own database, and both share Redis.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use uuid::Uuid;

use super::background::open_sales;
use super::cell::Cell;
use super::context::BuildContext;
use super::instance::Instance;
use super::selling::in_groups;
use super::shared::Shared;
use super::task_groups::TaskGroups;
use super::use_cases::use_cases;
use crate::application::cells::Cells;
use crate::application::checkout::{CheckoutAnswer, CheckoutCommand, LineChange, RequestedLine};
use crate::application::idempotency::CheckoutReply;
use crate::application::ports::{Inspector, Keyed};
use crate::application::purchase::Purchased;
use crate::config::{Config, InForce};
use crate::domain::cell::CellId;
use crate::domain::code::CodeClaim;
use crate::domain::ids::{Quantity, SaleId};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::http::UseCases;
use crate::infrastructure::persistence::PostgresInspector;
use crate::testing::builders::{buyer, item_id, keyed_request};
use crate::testing::servers::{PostgresShop, setting};

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);

/// Two databases, and one process on both.
struct World {
    shops: [PostgresShop; 2],
    cells: [Cell; 2],
    shared: Shared,
    process: Process,
    use_cases: Cells<UseCases>,
}

/// What the cells of a process are built from, beside their databases.
struct Process {
    config: Arc<Config>,
    in_force: InForce,
    instance: Instance,
    circuits: CircuitMetrics,
    tasks: TaskGroups,
    /// Metrics of a cell are its own.
    registries: [Registry; 2],
}

impl Process {
    fn new() -> Self {
        let prefix = format!("lib-{}:", Uuid::now_v7().simple());
        let settings = [
            ("REDIS_URL", setting("FLASH_SALE_TEST_REDIS_URL")),
            ("FLASH_SALE__REDIS__KEY_PREFIX", prefix),
            ("FLASH_SALE__SCHEDULE__ENABLED", "true".to_owned()),
            ("FLASH_SALE__SCHEDULE__ITEMS", "3".to_owned()),
            // The sale of this hour is open for long enough, however late in the hour the test runs.
            ("FLASH_SALE__SCHEDULE__DURATION", "2h".to_owned()),
            ("FLASH_SALE__HTTP__REQUEST_TIMEOUT", "1m".to_owned()),
            ("FLASH_SALE__REDIS__CONNECT_TIMEOUT", "10s".to_owned()),
            ("FLASH_SALE__REDIS__RESPONSE_TIMEOUT", "10s".to_owned()),
            ("FLASH_SALE__BATCH__QUEUE_TIMEOUT", "1m".to_owned()),
            ("FLASH_SALE__BATCH__WAIT_LIMIT", "1m".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        let config = Config::from_environment(&settings.into_iter().collect(), None).unwrap();
        let in_force = InForce::new(config);
        let registries = [Registry::new(), Registry::new()];
        Self {
            config: in_force.get(),
            in_force,
            instance: Instance::new(),
            circuits: CircuitMetrics::register(&registries[0]).unwrap(),
            tasks: TaskGroups::default(),
            registries,
        }
    }

    /// Runs `build` with what is built from one of the databases.
    async fn on<T>(
        &self,
        shop: &PostgresShop,
        index: usize,
        build: impl FnOnce(&BuildContext<'_>) -> T,
    ) -> T {
        let database = shop.database().await;
        build(&BuildContext {
            config: &self.config,
            in_force: &self.in_force,
            instance: &self.instance,
            registry: &self.registries[index],
            circuits: &self.circuits,
            database: &database,
            tasks: &self.tasks,
            make_selling: in_groups,
        })
    }
}

impl World {
    async fn open() -> Self {
        let ids = [0, 1].map(|number| CellId::new(number).unwrap());
        let shops = [PostgresShop::of_cell(ids[0]).await, PostgresShop::of_cell(ids[1]).await];
        let process = Process::new();
        let shared = process.on(&shops[0], 0, Shared::build).await.unwrap();
        let cell = async |index: usize| {
            let built = process
                .on(&shops[index], index, |context| Cell::build(context, &shared, ids[index]));
            built.await.unwrap()
        };
        let cells = [cell(0).await, cell(1).await];
        let of = |cell: &Cell| use_cases(&process.config, cell, &shared);
        let use_cases = Cells::new(of(&cells[0]), vec![(ids[1], of(&cells[1]))]);
        Self { shops, cells, shared, process, use_cases }
    }

    /// Opens the due sales of a cell, as two instances do at the same time. Returns the latest that is open.
    async fn open_due_sales(&self, index: usize) -> SaleId {
        let cell = &self.cells[index];
        cell.sale_cache.refresh().await.unwrap();
        let schedule = async || {
            let build = |context: &BuildContext<'_>| open_sales(context, cell, &self.shared);
            self.process.on(&self.shops[index], index, build).await
        };
        let (one, two) = (schedule().await, schedule().await);
        let (created, again) = tokio::join!(one.execute(), two.execute());
        let mut sales = created.unwrap();
        sales.extend(again.unwrap());
        let now = cell.sale_cache.clock().database().unwrap().at;
        let open = sales.iter().filter(|sale| sale.window.starts_at() <= now);
        open.max_by_key(|sale| sale.window.starts_at()).unwrap().id
    }

    /// One number from a cell's database.
    async fn count(&self, index: usize, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.shops[index].pool).await.unwrap()
    }

    async fn collects(&self, who: &str, sale: SaleId) -> CheckoutAnswer {
        self.use_cases.of(sale).checkout.execute(&command(who, sale)).await.unwrap()
    }

    async fn buys(&self, code: CodeClaim) -> Purchased {
        let purchase = &self.use_cases.of(code.sale).purchase;
        let command = purchase.verify_code(code).await.unwrap().unwrap();
        purchase.execute(command).await.unwrap()
    }

    async fn verify(&self, index: usize) {
        let inspector = PostgresInspector::new(self.shops[index].database().await, LONG);
        let findings = inspector.inspect(None).await.unwrap();
        let broken: Vec<_> = findings.iter().filter(|finding| finding.broken > 0).collect();
        assert!(broken.is_empty() && !findings.is_empty(), "cell {index}: {broken:?}");
    }
}

/// Wants the first item.
fn command(who: &str, sale: SaleId) -> CheckoutCommand {
    let line = RequestedLine { item: item_id("1"), quantity: Quantity::ONE };
    CheckoutCommand {
        buyer: buyer(who),
        line_change: LineChange::Set(vec![line]),
        sale: Some(sale),
        attempt: None,
        tags: None,
    }
}

fn accepted(answer: CheckoutAnswer) -> CodeClaim {
    match answer {
        CheckoutAnswer::Accepted { code, .. } => code,
        CheckoutAnswer::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_cell_sells_its_own_sales_and_repeats_what_it_answered() {
    let world = World::open().await;
    let sales = [world.open_due_sales(0).await, world.open_due_sales(1).await];

    for (index, sale) in (0..).zip(sales) {
        let code = accepted(world.collects("ann", sale).await);
        let (first, repeat) = (world.buys(code).await, world.buys(code).await);

        assert_eq!((sale.get() >> 40, code.attempt.get() >> 40), (index, index));
        assert!(matches!(first, Purchased::Settled { replayed: false, .. }));
        assert!(matches!(repeat, Purchased::Settled { replayed: true, .. }));
    }

    for index in [0, 1] {
        assert_eq!(world.count(index, "SELECT count(*) FROM purchases").await, 1);
        assert_eq!(world.count(index, "SELECT sum(sold) FROM item_stock").await, 1);
        world.verify(index).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_takes_effect_once_in_the_cell_of_its_sale() {
    let world = World::open().await;
    let sales = [world.open_due_sales(0).await, world.open_due_sales(1).await];

    for sale in sales {
        let collect = async || {
            let idempotency = &world.use_cases.of(sale).idempotency;
            idempotency.checkout(command("ann", sale), keyed_request("k", "one")).await.unwrap()
        };

        let (first, repeat) = (collect().await, collect().await);

        assert!(matches!(first, Keyed::New(CheckoutReply::Accepted { .. })), "{first:?}");
        assert!(matches!(repeat, Keyed::Replayed(CheckoutReply::Accepted { .. })), "{repeat:?}");
    }

    for index in [0, 1] {
        assert_eq!(world.count(index, "SELECT count(*) FROM idempotency_keys").await, 1);
        assert_eq!(world.count(index, "SELECT count(*) FROM checkout_attempts").await, 1);
        world.verify(index).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schedule_opens_each_sale_once_in_each_cell() {
    let world = World::open().await;

    tokio::join!(world.open_due_sales(0), world.open_due_sales(1));

    let starts = "SELECT count(DISTINCT starts_at) FROM sales WHERE schedule IS NOT NULL";
    for index in [0, 1] {
        let sales = world.count(index, "SELECT count(*) FROM sales").await;
        assert_eq!(world.count(index, starts).await, sales);
        world.verify(index).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_on_record_in_the_cell_of_their_sale() {
    let world = World::open().await;
    let sales = [world.open_due_sales(0).await, world.open_due_sales(1).await];

    for (refusals, sale) in [2, 1].into_iter().zip(sales) {
        world.buys(accepted(world.collects("ann", sale).await)).await;
        for _ in 0..refusals {
            let refused = world.collects("bob", sale).await;
            assert!(matches!(refused, CheckoutAnswer::Refused(_)));
        }
    }
    for cell in &world.cells {
        cell.refusals.flush().await.unwrap();
    }

    for (index, refusals) in [2, 1].into_iter().enumerate() {
        let total = "SELECT sum(total)::bigint FROM refusal_totals";
        assert_eq!(world.count(index, total).await, refusals);
        world.verify(index).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_buys_nothing_in_another_cell() {
    let world = World::open().await;
    let sale = world.open_due_sales(1).await;
    let code = accepted(world.collects("ann", sale).await);
    let elsewhere = &world.use_cases.home().purchase;

    // Both sign with the same keys.
    let command = elsewhere.verify_code(code).await.unwrap().unwrap();
    let bought = elsewhere.execute(command).await;

    assert!(!matches!(bought, Ok(Purchased::Settled { .. })), "{bought:?}");
    assert_eq!(world.count(0, "SELECT count(*) FROM purchases").await, 0);
    assert!(matches!(world.buys(code).await, Purchased::Settled { replayed: false, .. }));
}
