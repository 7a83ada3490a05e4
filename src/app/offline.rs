//! Use cases and ports of the commands other than `serve`.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;

use super::closing::{close_sale, drop_sales};
use super::error::AppError;
use super::limits::CLOSE_TIMEOUT;
use super::offline_jobs::OfflineJobs;
use super::pause::TokioPause;
use super::returns::Returns;
use super::webhooks::Webhooks;
use crate::application::api_keys::issue::IssueKey;
use crate::application::create_sale::CreateSale;
use crate::application::drop_sales::DropSales;
use crate::application::operators::announced_edits::AnnouncedEdits;
use crate::application::operators::edit_sale::EditSale;
use crate::application::operators::import_items::ImportItems;
use crate::application::operators::restock::Restock;
use crate::application::ports::{
    ApiKeyStore, AuditTrail, Clock, ItemReader, KeySecrets, Outbox, SaleEditor, SaleReportReader,
    SaleStore,
};
use crate::application::sale_report::{CloseSale, ReportSale};
use crate::application::verify::{Verify, VerifyPorts};
use crate::config::{CircuitConfig, CircuitMode, Config, DatabaseConfig, Pooler};
use crate::infrastructure::cache::{Redis, RedisHintReader, RedisMetrics, RedisSaleNotifications};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::persistence::{
    Database, DatabaseClock, DatabaseMetrics, OnReplicas, Planning, PostgresApiKeyStore,
    PostgresAuditTrail, PostgresBuyerTotalsReader, PostgresInspector, PostgresItemImporter,
    PostgresItemReader, PostgresOutbox, PostgresSaleEditor, PostgresSaleReports, PostgresSaleStore,
    Replicas, SchemaError, check_cell, check_requirements, check_schema, check_sessions, migrate,
    take_cell,
};
use crate::infrastructure::signing::HmacKeySecrets;

/// Maximum number of connection retries.
const MAX_RETRIES: usize = 2;
/// Statement timeout of an audit, which reads the whole history.
const INSPECTION_TIMEOUT: Duration = Duration::from_mins(10);

/// Use cases and ports of the commands other than `serve`.
pub(crate) struct Offline {
    pub(crate) create_sale: CreateSale,
    pub(crate) sales: Arc<dyn SaleStore>,
    pub(crate) items: Arc<dyn ItemReader>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) report_sale: ReportSale,
    pub(crate) edit_sale: EditSale,
    pub(crate) restock: Restock,
    pub(crate) import_items: ImportItems,
    pub(crate) audit: Arc<dyn AuditTrail>,
    pub(crate) drop_sales: DropSales,
    pub(crate) close_sale: CloseSale,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) verify: Verify,
    pub(crate) keys: Arc<dyn ApiKeyStore>,
    pub(crate) issue_key: IssueKey,
    pub(crate) webhooks: Webhooks,
    pub(crate) jobs: OfflineJobs,
    pub(crate) returns: Returns,
    replicas: Arc<Replicas>,
    database: Database,
}

impl Offline {
    /// Connects to PostgreSQL and checks the schema.
    pub(crate) async fn connect(config: &Config) -> Result<Self, AppError> {
        let registry = Registry::new();
        let metrics = DatabaseMetrics::register(&registry)?;
        let circuits = CircuitMetrics::register(&registry)?;
        let settings = with_few_retries(&config.database);
        let database = Database::connect(&settings, Planning::Tables, metrics, &circuits).await?;
        // Without a pooler by the configuration, a command does not pay for the look.
        if config.database.pooler == Pooler::Session {
            check_sessions(&database).await?;
        }
        check_requirements(&database).await?;
        check_schema(&database).await?;
        check_cell(&database, config.database.cell).await?;
        if !config.database.replicas.is_empty() {
            // A replica must follow this history.
            database.begin_history().await.map_err(SchemaError::from)?;
        }
        let replicas = Arc::new(Replicas::new(&config.database, &database, &registry)?);
        let redis = Redis::new(&config.redis, RedisMetrics::register(&registry)?, &circuits)?;
        let keep = config.retention.keep;
        let clock = Arc::new(DatabaseClock::new());
        let sales = listed_sales(config, &database, (&replicas, &clock));
        let notifications =
            Arc::new(RedisSaleNotifications::new(redis.clone(), Arc::clone(database.history())));
        let editor = Arc::new(PostgresSaleEditor::new(database.clone()));
        let editor: Arc<dyn SaleEditor> = Arc::new(AnnouncedEdits::new(
            editor,
            Arc::<RedisSaleNotifications>::clone(&notifications),
        ));
        let keys: Arc<dyn ApiKeyStore> = Arc::new(PostgresApiKeyStore::new(database.clone()));
        let secrets: Arc<dyn KeySecrets> = Arc::new(HmacKeySecrets::new(&config.api_keys));
        Ok(Self {
            issue_key: IssueKey::new(Arc::clone(&keys), secrets),
            keys,
            edit_sale: EditSale::new(Arc::clone(&editor)),
            restock: Restock::new(editor),
            import_items: ImportItems::new(Arc::new(PostgresItemImporter::new(database.clone()))),
            audit: Arc::new(PostgresAuditTrail::new(database.clone())),
            drop_sales: drop_sales(Arc::new(move || keep), &database),
            close_sale: close_sale(config, &database),
            outbox: Arc::new(PostgresOutbox::new(database.clone())),
            create_sale: CreateSale::new(Arc::clone(&sales)),
            items: listed_items(&database, &replicas),
            report_sale: ReportSale::new(reports(&database, &replicas)),
            verify: Verify::new(VerifyPorts {
                inspector: Arc::new(PostgresInspector::new(database.clone(), INSPECTION_TIMEOUT)),
                sales: Arc::clone(&sales),
                hints: Arc::new(RedisHintReader::new(redis.clone())),
                buyer_totals: Arc::new(PostgresBuyerTotalsReader::new(database.clone())),
                clock: Arc::<DatabaseClock>::clone(&clock),
                pause: Arc::new(TokioPause),
            }),
            webhooks: Webhooks::build(config, &database, Arc::<DatabaseClock>::clone(&clock))?,
            jobs: OfflineJobs::new(config, &database),
            returns: Returns::build(
                config,
                (&database, &redis),
                Arc::<DatabaseClock>::clone(&clock),
                notifications,
            )?,
            sales,
            clock,
            replicas,
            database,
        })
    }

    /// Closes the connections.
    pub(crate) async fn close(self) {
        let close = async { tokio::join!(self.database.close(), self.replicas.close()) };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, close).await;
    }
}

/// Sales. An operator's list has what the command before it has written.
fn listed_sales(
    config: &Config,
    database: &Database,
    (replicas, clock): (&Arc<Replicas>, &Arc<DatabaseClock>),
) -> Arc<dyn SaleStore> {
    let store = |database| -> Arc<dyn SaleStore> {
        Arc::new(PostgresSaleStore::new(database, Arc::clone(clock), config.catalogue.clone()))
    };
    let each = replicas.on_each(store(database.clone()), store);
    Arc::new(OnReplicas::acknowledged(replicas, each))
}

fn listed_items(database: &Database, replicas: &Arc<Replicas>) -> Arc<dyn ItemReader> {
    let reader = |database| -> Arc<dyn ItemReader> { Arc::new(PostgresItemReader::new(database)) };
    let each = replicas.on_each(reader(database.clone()), reader);
    Arc::new(OnReplicas::acknowledged(replicas, each))
}

fn reports(database: &Database, replicas: &Arc<Replicas>) -> Arc<dyn SaleReportReader> {
    let reader =
        |database| -> Arc<dyn SaleReportReader> { Arc::new(PostgresSaleReports::new(database)) };
    let each = replicas.on_each(reader(database.clone()), reader);
    Arc::new(OnReplicas::acknowledged(replicas, each))
}

/// Fewer retries than the service, because the caller waits at a terminal.
pub(super) fn with_few_retries(config: &DatabaseConfig) -> DatabaseConfig {
    DatabaseConfig { retries: config.retries.min(MAX_RETRIES), ..without_circuit(config) }
}

/// A circuit protects PostgreSQL from many callers. A command is one, and runs no probe that would close the circuit.
fn without_circuit(config: &DatabaseConfig) -> DatabaseConfig {
    let circuit = CircuitConfig { mode: CircuitMode::Closed, ..config.circuit.clone() };
    DatabaseConfig { circuit, ..config.clone() }
}

/// Applies pending migrations.
pub(crate) async fn migrate_schema(config: &Config) -> Result<(), AppError> {
    let registry = Registry::new();
    let metrics = DatabaseMetrics::register(&registry)?;
    let circuits = CircuitMetrics::register(&registry)?;
    let database =
        Database::connect(&without_circuit(&config.database), Planning::Tables, metrics, &circuits)
            .await?;
    // The lock that keeps others from migrating belongs to a session.
    check_sessions(&database).await?;
    check_requirements(&database).await?;
    migrate(&database).await?;
    take_cell(&database, config.database.cell).await?;
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, database.close()).await;
    Ok(())
}
