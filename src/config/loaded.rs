//! The configuration of one run, from all layers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layers::{self, Environment};
use super::origin::Origin;
use super::reader::Reader;
use super::sections::{
    AdminConfig, ApiKeysConfig, AuthConfig, BatchConfig, CacheConfig, CatalogueConfig, CodeKey,
    DatabaseConfig, EventsConfig, HttpConfig, IdempotencyConfig, JobsConfig, LimitsConfig,
    LiveConfig, LogConfig, MonitoringConfig, RedisConfig, RefusalsConfig, RetentionConfig,
    SaleCacheConfig, ScheduleConfig, ShopPageConfig, ShutdownConfig, TelemetryConfig,
    WebhooksConfig,
};

/// The configuration of one run.
#[derive(Debug)]
pub struct Config {
    /// Name of the profile.
    pub profile: String,
    /// The port for front ends.
    pub http: HttpConfig,
    /// The port for Prometheus and health checks.
    pub monitoring: MonitoringConfig,
    /// The port for operators.
    pub admin: AdminConfig,
    /// Keys of operators and services.
    pub api_keys: ApiKeysConfig,
    /// Who may buy.
    pub auth: AuthConfig,
    /// How often.
    pub limits: Arc<LimitsConfig>,
    /// Sales that open by themselves.
    pub schedule: ScheduleConfig,
    /// The read cache.
    pub cache: CacheConfig,
    /// Texts of generated items.
    pub catalogue: CatalogueConfig,
    /// Keys of checkout codes; the first one signs.
    pub code_keys: Vec<CodeKey>,
    /// The in-memory cache of sales.
    pub sale_cache: SaleCacheConfig,
    /// Group commit.
    pub batch: BatchConfig,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// Redis.
    pub redis: RedisConfig,
    /// The record of refused attempts.
    pub refusals: RefusalsConfig,
    /// Sinks of events.
    pub events: EventsConfig,
    /// The events of sales.
    pub live: LiveConfig,
    /// The page for buyers.
    pub shop_page: ShopPageConfig,
    /// Retention of idempotency keys.
    pub idempotency: IdempotencyConfig,
    /// Endpoints of other systems that receive events.
    pub webhooks: WebhooksConfig,
    /// Work outside of requests.
    pub jobs: JobsConfig,
    /// How long sales are kept.
    pub retention: RetentionConfig,
    /// Logging.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// Time limits of a shutdown.
    pub shutdown: ShutdownConfig,
    /// Whether a folder of files is watched.
    pub watch: bool,
    /// Warnings to log once logging works.
    pub warnings: Vec<String>,
    origin: Origin,
}

/// The configuration is not valid; lists every fault.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not valid:\n  {}", .0.join("\n  "))]
pub struct InvalidConfig(pub(super) Vec<String>);

impl Config {
    /// Loads all layers: the defaults in the binary or in `folder`, the profile, and the environment of the process.
    pub fn load(folder: Option<&Path>) -> Result<Self, InvalidConfig> {
        let environment =
            layers::environment(std::env::vars_os()).map_err(|fault| InvalidConfig(vec![fault]))?;
        Self::from_environment(&environment, folder)
    }

    pub(crate) fn from_environment(
        environment: &Environment,
        folder: Option<&Path>,
    ) -> Result<Self, InvalidConfig> {
        let layers =
            layers::merge(environment, folder).map_err(|fault| InvalidConfig(vec![fault]))?;
        let origin = Origin::of(&layers, folder);
        let mut read = Reader::new(layers.merged, layers.from_environment, layers.faults);
        let admin = AdminConfig::read(&mut read);
        let api_keys = ApiKeysConfig::read(&mut read, &layers.profile, admin.port.is_some());
        let has_keys = api_keys.secret.is_some();
        let config = Self {
            http: HttpConfig::read(&mut read),
            monitoring: MonitoringConfig::read(&mut read),
            api_keys,
            admin,
            auth: AuthConfig::read(&mut read, has_keys),
            limits: Arc::new(LimitsConfig::read(&mut read)),
            schedule: ScheduleConfig::read(&mut read),
            cache: CacheConfig::read(&mut read),
            catalogue: CatalogueConfig::read(&mut read),
            code_keys: CodeKey::read_all(&mut read, &layers.profile),
            sale_cache: SaleCacheConfig::read(&mut read),
            batch: BatchConfig::read(&mut read),
            database: DatabaseConfig::read(&mut read),
            redis: RedisConfig::read(&mut read),
            refusals: RefusalsConfig::read(&mut read),
            events: EventsConfig::read(&mut read),
            live: LiveConfig::read(&mut read),
            shop_page: ShopPageConfig::read(&mut read),
            idempotency: IdempotencyConfig::read(&mut read),
            webhooks: WebhooksConfig::read(&mut read),
            jobs: JobsConfig::read(&mut read),
            retention: RetentionConfig::read(&mut read),
            log: LogConfig::read(&mut read),
            telemetry: TelemetryConfig::read(&mut read),
            shutdown: ShutdownConfig::read(&mut read),
            watch: read.flag("config.watch"),
            profile: layers.profile,
            warnings: layers.warnings,
            origin,
        };
        if !read.faults.is_empty() {
            return Err(InvalidConfig(read.faults));
        }
        Ok(config.with_warnings())
    }

    /// Adds warnings about values that are valid and may not be meant.
    fn with_warnings(mut self) -> Self {
        let mut warnings = self.auth.warnings(&self.profile);
        warnings.extend(self.limits.warning(&self.http.links));
        self.warnings.extend(warnings);
        self
    }

    /// The folder of its files, if it has one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.origin.folder()
    }

    /// The files that may change it.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        self.origin.files()
    }

    /// Loads all layers again. Beyond what [`Self::load`] checks, a file that was there must be there and say something: one that is
    /// gone or empty would silently mean the defaults.
    pub fn reload(&self) -> Result<Self, InvalidConfig> {
        let mut faults = self.origin.faults();
        match Self::load(self.folder()) {
            Ok(config) if faults.is_empty() => Ok(config),
            Ok(_) => Err(InvalidConfig(faults)),
            Err(InvalidConfig(others)) => {
                faults.extend(others);
                Err(InvalidConfig(faults))
            }
        }
    }

    /// The keys whose values differ from those of another configuration, in order.
    #[must_use]
    pub fn changed_since(&self, other: &Self) -> Vec<String> {
        self.origin.changed_since(&other.origin)
    }
}
