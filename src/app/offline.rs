//! What commands work with that do not serve.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::Registry;

use super::{AppError, CLOSE_TIMEOUT};
use crate::application::create_sale::CreateSale;
use crate::application::ports::{Clock, ItemReader, Pause, SaleBook};
use crate::application::verify::{Verify, VerifyPorts};
use crate::config::{CircuitConfig, CircuitMode, Config, DatabaseConfig};
use crate::infrastructure::cache::{Redis, RedisMemoryReader, RedisMetrics};
use crate::infrastructure::circuit::CircuitMetrics;
use crate::infrastructure::persistence::migrate;
use crate::infrastructure::persistence::{
    Database, DatabaseClock, DatabaseMetrics, Planning, PostgresInspector, PostgresItemReader,
    PostgresSaleBook, PostgresStandingReader, check_schema,
};

/// Most repeated tries to connect.
const MAX_RETRIES: usize = 2;
/// An audit of a long history may take this long.
const INSPECTION_TIMEOUT: Duration = Duration::from_mins(10);

/// What commands work with that do not serve.
pub(crate) struct Offline {
    pub(crate) create_sale: CreateSale,
    pub(crate) sales: Arc<dyn SaleBook>,
    pub(crate) items: Arc<dyn ItemReader>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) verify: Verify,
    database: Database,
}

impl Offline {
    /// Connects.
    pub(crate) async fn connect(config: &Config) -> Result<Self, AppError> {
        let registry = Registry::new();
        let metrics = DatabaseMetrics::register(&registry)?;
        let circuits = CircuitMetrics::register(&registry)?;
        let patience = impatient(&config.database);
        let database = Database::connect(&patience, Planning::Tables, metrics, &circuits).await?;
        check_schema(&database).await?;
        let redis = Redis::new(&config.redis, RedisMetrics::register(&registry)?, &circuits)?;
        let clock = Arc::new(DatabaseClock::new());
        let sales: Arc<dyn SaleBook> = Arc::new(PostgresSaleBook::new(
            database.clone(),
            Arc::clone(&clock),
            config.catalogue.clone(),
        ));
        Ok(Self {
            create_sale: CreateSale::new(Arc::clone(&sales)),
            items: Arc::new(PostgresItemReader::new(database.clone())),
            verify: Verify::new(VerifyPorts {
                inspector: Arc::new(PostgresInspector::new(database.clone(), INSPECTION_TIMEOUT)),
                sales: Arc::clone(&sales),
                memory: Arc::new(RedisMemoryReader::new(redis)),
                standings: Arc::new(PostgresStandingReader::new(database.clone())),
                clock: Arc::<DatabaseClock>::clone(&clock),
                pause: Arc::new(TokioPause),
            }),
            sales,
            clock,
            database,
        })
    }

    /// Closes the connections.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.database.close()).await;
    }
}

/// Somebody waits in front of the terminal: fewer tries than a service makes.
fn impatient(config: &DatabaseConfig) -> DatabaseConfig {
    DatabaseConfig { retries: config.retries.min(MAX_RETRIES), ..unguarded(config) }
}

/// The circuit keeps a crowd of callers away. A command is one, and nobody watches for it.
fn unguarded(config: &DatabaseConfig) -> DatabaseConfig {
    let circuit = CircuitConfig { mode: CircuitMode::Closed, ..config.circuit.clone() };
    DatabaseConfig { circuit, ..config.clone() }
}

struct TokioPause;

#[async_trait]
impl Pause for TokioPause {
    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Brings the schema up to date.
pub(crate) async fn migrate_schema(config: &Config) -> Result<(), AppError> {
    let registry = Registry::new();
    let metrics = DatabaseMetrics::register(&registry)?;
    let circuits = CircuitMetrics::register(&registry)?;
    let database =
        Database::connect(&unguarded(&config.database), Planning::Tables, metrics, &circuits)
            .await?;
    migrate(&database).await?;
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, database.close()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::testing::contracts::pause::it_comes_back_when_the_time_is_over;

    #[tokio::test(start_paused = true)]
    async fn a_pause_lasts_as_long_as_it_says() {
        let origin = Instant::now();

        it_comes_back_when_the_time_is_over(&TokioPause, || origin.elapsed()).await;
    }
}
