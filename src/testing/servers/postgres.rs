//! A database for each test, copied from a template that this process migrates once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use prometheus::Registry;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Row};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::environment::setting;
use crate::application::ports::{
    CheckoutStore, DeliveryStore, Ledger, Operation, Refusal, RefusalReason, RefusalStore,
    RefusalTotal, WebhookStore,
};
use crate::config::{
    CatalogueConfig, CircuitConfig, CircuitMode, DatabaseConfig, DatabaseParts, Pooler, Setting,
};
use crate::domain::cell::CellId;
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, RequestId, SaleId};
use crate::domain::sale::SaleWindow;
use crate::infrastructure::batching::{BatchLimits, BatchMetrics};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::persistence::{
    BatchContext, Database, DatabaseClock, DatabaseMetrics, Planning, PostgresCheckoutStore,
    PostgresDeliveryStore, PostgresDirect, PostgresIdempotencyStore, PostgresItemReader,
    PostgresLedger, PostgresPurchaseHistory, PostgresRefusalStore, PostgresSaleStore,
    PostgresWebhookStore, Retries,
};
use crate::infrastructure::persistence::{migrate, take_cell};
use crate::testing::builders::{attempt_id, buyer, item_id};
use crate::testing::contracts::refusal_store::RefusalWorld;
use crate::testing::contracts::webhook_store::WebhookWorld;
use crate::testing::contracts::{Instance, Scene, ShopWorld, Terms};

/// Retention time of idempotency keys.
const RETENTION: Duration = Duration::from_hours(24);
/// Timeout of every wait. Minutes, so that a slow machine does not fail a test.
const DEADLINE: Duration = Duration::from_mins(5);

/// The name of the template.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A shop in a database of its own, dropped when the test is over.
pub(crate) struct PostgresShop {
    /// The connections of the test itself.
    pub(crate) pool: PgPool,
    options: PgConnectOptions,
    lock_timeout: Duration,
    name: String,
    /// Whether instances run one transaction for each request.
    is_direct: bool,
    /// The writers of batches; they end with the test's runtime.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl PostgresShop {
    /// How often a batch is run again, and for how long.
    pub(crate) const RETRIES: Retries = Retries { times: 5, caller_timeout: DEADLINE };

    /// Instances wait for locks however long a slow machine holds them.
    pub(crate) async fn open() -> Self {
        Self::with_lock_timeout(DEADLINE).await
    }

    /// Instances run one transaction for each request.
    pub(crate) async fn direct() -> Self {
        let mut shop = Self::open().await;
        shop.is_direct = true;
        shop
    }

    /// Instances wait for locks up to this time.
    pub(crate) async fn with_lock_timeout(lock_timeout: Duration) -> Self {
        let template = TEMPLATE.get_or_init(make_template).await;
        let name = format!("lib_{}", Uuid::now_v7().simple());
        on_server(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        Self::on(name, lock_timeout)
    }

    /// In the database of this cell.
    pub(crate) async fn of_cell(cell: CellId) -> Self {
        let shop = Self::open().await;
        shop.execute("DELETE FROM cell").await;
        let database = connect(&shop.options, shop.lock_timeout, 1).await;
        take_cell(&database, cell).await.unwrap();
        database.close().await;
        shop
    }

    /// The pool of one more instance.
    pub(crate) async fn database(&self) -> Database {
        self.database_of(8).await
    }

    /// A pool of one connection.
    pub(crate) async fn single_connection_database(&self) -> Database {
        self.database_of(1).await
    }

    async fn database_of(&self, max_connections: u32) -> Database {
        let database = connect(&self.options, self.lock_timeout, max_connections).await;
        database.begin_history().await.unwrap();
        database
    }

    /// The name of its database.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects without the service's session settings.
    pub(crate) fn plain_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.unwrap();
    }

    /// The next write of this table fails as if a lock on a row had not been free in time; the ones after it do not.
    pub(crate) async fn lose_next_lock(&self, table: &str) {
        // A sequence keeps its value when the transaction rolls back.
        let sql = format!(
            "CREATE SEQUENCE writes_of_{table};
             CREATE FUNCTION lose_lock_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('writes_of_{table}') = 1 THEN RAISE 'test' USING ERRCODE = 'lock_not_available'; END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER lose_lock AFTER INSERT OR UPDATE OR DELETE ON {table}
             FOR EACH STATEMENT EXECUTE FUNCTION lose_lock_of_{table}()"
        );
        self.execute(&sql).await;
    }

    /// Makes the latest epoch one of another timeline, as if the server had been promoted since.
    pub(crate) async fn lose_history(&self) {
        self.execute("UPDATE epochs SET timeline = timeline - 1").await;
    }

    /// Waits until a transaction in this database waits for a lock.
    pub(crate) async fn wait_until_blocked(&self) {
        self.wait_until_as_many_are_blocked(1).await;
    }

    /// Waits until so many transactions in this database wait for locks.
    pub(crate) async fn wait_until_as_many_are_blocked(&self, transactions: i64) {
        let blocked = async {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let waiting = || sqlx::query_scalar::<_, i64>(waiting).fetch_one(&self.pool);
            while waiting().await.unwrap() < transactions {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, blocked).await.expect("no transaction waits for a lock");
    }

    /// Whether a session in this database has begun a transaction and runs no statement in it.
    pub(crate) async fn is_idle_in_transaction(&self) -> bool {
        let idle = "SELECT EXISTS (SELECT FROM pg_stat_activity
                    WHERE datname = current_database() AND state = 'idle in transaction')";
        sqlx::query_scalar(idle).fetch_one(&self.pool).await.unwrap()
    }

    /// Another database with the same rows. All connections to this one are closed.
    pub(crate) async fn copy(&self) -> Self {
        let name = format!("lib_{}", Uuid::now_v7().simple());
        let source = &self.name;
        let disconnect = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{source}'"
        );
        on_server(&disconnect).await.unwrap();
        on_server(&format!("CREATE DATABASE {name} TEMPLATE {source}")).await.unwrap();
        Self::on(name, self.lock_timeout)
    }

    fn on(name: String, lock_timeout: Duration) -> Self {
        let options = options(&name);
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options.clone());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { pool, options, lock_timeout, name, is_direct: false, tasks, stop }
    }

    /// Small batches, so that a race is one between many transactions.
    pub(crate) fn limits() -> BatchLimits {
        BatchLimits {
            size: 8,
            writers: 1,
            queue: 8_192,
            queue_timeout: DEADLINE,
            wait_limit: DEADLINE,
        }
    }
}

#[async_trait]
impl ShopWorld for PostgresShop {
    async fn instance(&self) -> Instance {
        let database = self.database().await;
        let metrics = BatchMetrics::register(&Registry::new()).unwrap();
        let scope = || (self.tasks.clone(), self.stop.clone());
        let texts = CatalogueConfig {
            item_name: "Item {item}".to_owned(),
            image_url: "https://images.example.com/{item}.jpg".to_owned(),
        };
        let clock = Arc::new(DatabaseClock::new());
        let (limits, two_writers) = (Self::limits(), BatchLimits { writers: 2, ..Self::limits() });
        let db = || database.clone();
        let context = BatchContext::new(db());
        let (store, ledger): (Arc<dyn CheckoutStore>, Arc<dyn Ledger>) = if self.is_direct {
            let direct = Arc::new(PostgresDirect::new(context, Self::RETRIES));
            (Arc::<PostgresDirect>::clone(&direct), direct)
        } else {
            (
                Arc::new(PostgresCheckoutStore::new(
                    context.clone(),
                    two_writers,
                    Self::RETRIES,
                    &metrics,
                    scope(),
                )),
                Arc::new(PostgresLedger::new(context, limits, Self::RETRIES, &metrics, scope())),
            )
        };
        Instance {
            checkouts: store,
            ledger,
            sales: Arc::new(PostgresSaleStore::new(db(), clock, texts)),
            items: Arc::new(PostgresItemReader::new(db())),
            history: Arc::new(PostgresPurchaseHistory::new(db())),
            keys: Arc::new(PostgresIdempotencyStore::new(
                db(),
                Setting::fixed(RETENTION),
                limits,
                &metrics,
                scope(),
            )),
        }
    }

    async fn now(&self) -> DateTime<Utc> {
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.pool).await.unwrap()
    }

    async fn move_window(&self, sale: SaleId, window: SaleWindow) {
        let sql = "UPDATE sales SET starts_at = $2, ends_at = $3, generation = generation + 1 WHERE id = $1";
        let query = sqlx::query(sql).bind(sale.get());
        query.bind(window.starts_at()).bind(window.ends_at()).execute(&self.pool).await.unwrap();
    }

    async fn archive(&self, sale: SaleId) {
        let sql = "WITH gone AS (DELETE FROM sales WHERE id = $1 RETURNING *)
                   INSERT INTO archived_sales (id, name, schedule, starts_at, ends_at)
                   SELECT id, name, schedule, starts_at, ends_at FROM gone";
        sqlx::query(sql).bind(sale.get()).execute(&self.pool).await.unwrap();
    }

    async fn set_stock(&self, sale: SaleId, item: ItemNo, pieces: i32) {
        let sql = "WITH changed AS (UPDATE sales SET generation = generation + 1 WHERE id = $1)
                   UPDATE item_stock SET stock = $3 WHERE sale_id = $1 AND item_no = $2";
        let query = sqlx::query(sql).bind(sale.get()).bind(item.0).bind(pieces);
        query.execute(&self.pool).await.unwrap();
    }

    async fn extra_attempt(&self, sale: SaleId, buyer: &BuyerId, lines: &[Line]) -> AttemptId {
        let sql = "WITH attempt AS (
                       INSERT INTO checkout_attempts (sale_id, id, user_id, created_at)
                       VALUES ($1, nextval('checkout_attempt_ids'), $2, clock_timestamp())
                       RETURNING id
                   ), buyer AS (
                       INSERT INTO buyers (sale_id, user_id, buyer_limit)
                       SELECT id, $2, buyer_limit FROM sales WHERE id = $1
                       ON CONFLICT DO NOTHING
                   ), line AS (
                       INSERT INTO checkout_items (sale_id, attempt_id, item_no, quantity, added_at)
                       SELECT $1, id, t.item_no, t.quantity, clock_timestamp()
                       FROM attempt, unnest($3::int[], $4::int[]) AS t(item_no, quantity)
                   )
                   SELECT id FROM attempt";
        let items: Vec<i32> = lines.iter().map(|line| line.item.0).collect();
        let quantities: Vec<i32> = lines.iter().map(|line| line.quantity.get()).collect();
        let query = sqlx::query_scalar(sql).bind(sale.get()).bind(buyer.as_str());
        attempt_id(query.bind(items).bind(quantities).fetch_one(&self.pool).await.unwrap())
    }

    async fn created_by(&self, sale: SaleId) -> Vec<String> {
        let sql = "SELECT actor FROM sale_audit WHERE sale_id = $1 AND action = 'created'";
        sqlx::query_scalar(sql).bind(sale.get()).fetch_all(&self.pool).await.unwrap()
    }
}

#[async_trait]
impl WebhookWorld for PostgresShop {
    async fn webhooks(&self) -> Arc<dyn WebhookStore> {
        Arc::new(PostgresWebhookStore::new(self.database().await))
    }

    async fn deliveries(&self) -> Arc<dyn DeliveryStore> {
        Arc::new(PostgresDeliveryStore::new(self.database().await))
    }
}

#[async_trait]
impl RefusalWorld for PostgresShop {
    async fn instance(&self) -> Arc<dyn RefusalStore> {
        Arc::new(PostgresRefusalStore::new(self.database().await, Uuid::now_v7()))
    }

    async fn sale(&self) -> SaleId {
        Scene::open(self, Terms::unique(1)).await.sale
    }

    async fn totals(&self, sale: SaleId) -> Vec<RefusalTotal> {
        let sql =
            "SELECT operation, reason, total, detailed FROM refusal_totals WHERE sale_id = $1";
        let query = sqlx::query_as(sql).bind(sale.get());
        let rows: Vec<(String, String, i64, i64)> = query.fetch_all(&self.pool).await.unwrap();
        let totals = rows.into_iter().map(|(operation, reason, total, detailed)| {
            let (operation, reason) = (operation_of(&operation), reason_of(&reason));
            RefusalTotal { sale, operation, reason, total, detailed }
        });
        let mut totals: Vec<_> = totals.collect();
        totals.sort_unstable();
        totals
    }

    async fn details(&self, sale: SaleId) -> Vec<Refusal> {
        let sql = "SELECT operation, reason, user_id, item_id, attempt_id, refused_at, request_id
                   FROM checkout_refusals WHERE sale_id = $1";
        let rows: Vec<PgRow> =
            sqlx::query(sql).bind(sale.get()).fetch_all(&self.pool).await.unwrap();
        let details = rows.iter().map(|row| Refusal {
            sale,
            operation: operation_of(row.get("operation")),
            reason: reason_of(row.get("reason")),
            buyer: row.get::<Option<&str>, _>("user_id").map(buyer),
            item: row.get::<Option<&str>, _>("item_id").map(item_id),
            attempt: row.get::<Option<i64>, _>("attempt_id").map(attempt_id),
            refused_at: row.get("refused_at"),
            request: row.get::<Option<&str>, _>("request_id").and_then(RequestId::parse),
        });
        details.collect()
    }
}

fn operation_of(text: &str) -> Operation {
    let all = [Operation::Checkout, Operation::Purchase];
    all.into_iter().find(|operation| operation.as_str() == text).unwrap()
}

fn reason_of(text: &str) -> RefusalReason {
    RefusalReason::ALL.into_iter().find(|reason| reason.as_str() == text).unwrap()
}

impl Drop for PostgresShop {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // On its own runtime, because the test's is shutting down. Must not panic: it may run while a test unwinds.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.is_ok_and(|runtime| runtime.block_on(on_server(&drop)).is_ok())
        });
        let _ = dropping.join();
    }
}

/// The template is never dropped: it ends with the servers of the test run.
async fn make_template() -> String {
    let name = format!("lib_template_{}", Uuid::now_v7().simple());
    on_server(&format!("CREATE DATABASE {name}")).await.unwrap();
    let database = connect(&options(&name), Duration::from_secs(1), 8).await;
    migrate(&database).await.unwrap();
    take_cell(&database, CellId::default()).await.unwrap();
    // A database with connections cannot be copied.
    database.close().await;
    name
}

fn options(database: &str) -> PgConnectOptions {
    setting("FLASH_SALE_TEST_DATABASE_URL").parse::<PgConnectOptions>().unwrap().database(database)
}

/// Runs a statement on the server, in no test's database.
pub(crate) async fn on_server(sql: &str) -> sqlx::Result<()> {
    let options: PgConnectOptions = setting("FLASH_SALE_TEST_DATABASE_URL").parse()?;
    let mut connection: PgConnection = options.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    connection.close().await
}

async fn connect(
    options: &PgConnectOptions,
    lock_timeout: Duration,
    max_connections: u32,
) -> Database {
    let parts = DatabaseParts {
        hosts: Vec::new(),
        port: None,
        name: None,
        username: None,
        password: None,
        ssl_mode: None,
        ssl_root_cert: None,
    };
    let config = DatabaseConfig {
        url: options.to_url_lossy().to_string().into(),
        parts,
        min_connections: 0,
        max_connections,
        idle_timeout: DEADLINE,
        max_lifetime: DEADLINE * 10,
        connect_timeout: DEADLINE,
        statement_timeout: DEADLINE,
        lock_timeout,
        idle_in_transaction_session_timeout: DEADLINE,
        retries: 3,
        retry_delay: Duration::from_millis(50),
        migrate_on_start: false,
        slow_statement: DEADLINE,
        replicas: Vec::new(),
        replica_max_lag: DEADLINE,
        pooler: Pooler::None,
        cell: CellId::default(),
        circuit: CircuitConfig {
            mode: CircuitMode::Auto,
            failures: 3,
            recovery_time: Duration::from_millis(10),
            probes: 1,
            probe_interval: Duration::from_millis(10),
        },
    };
    let registry = Registry::new();
    let metrics = DatabaseMetrics::register(&registry).unwrap();
    let circuits = CircuitMetrics::register(&registry).unwrap();
    Database::connect(&config, Planning::Keys, metrics, &circuits).await.unwrap()
}
