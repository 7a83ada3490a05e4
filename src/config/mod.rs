//! Configuration: loaded once, typed, validated as a whole, secrets redacted.
//!
//! `config/default.yaml` documents every key. [`Config::load`] tells all faults at once and never a value, which may be a
//! secret.

mod http;
mod layers;
mod reader;
mod sections;
mod tests;

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};

pub use http::{CorsConfig, HttpConfig, Origins, SunsetConfig, TlsConfig};
use layers::{Environment, Layers};
use reader::Reader;

/// Everything that can be set.
#[derive(Debug)]
pub struct Config {
    /// Name of the profile.
    pub profile: String,
    /// Where buyers' front ends talk to.
    pub http: HttpConfig,
    /// Where Prometheus and probes talk to.
    pub monitoring: MonitoringConfig,
    /// Sales that open by themselves.
    pub schedule: ScheduleConfig,
    /// Texts of generated items.
    pub catalogue: CatalogueConfig,
    /// Keys of the codes; the first signs.
    pub code_keys: Vec<CodeKey>,
    /// What an instance knows in memory.
    pub board: BoardConfig,
    /// Group commit.
    pub batch: BatchConfig,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// Redis.
    pub redis: RedisConfig,
    /// Refused attempts.
    pub refusals: RefusalsConfig,
    /// Keys of writes that happen once.
    pub idempotency: IdempotencyConfig,
    /// Logging.
    pub log: LogConfig,
    /// The end.
    pub shutdown: ShutdownConfig,
    /// What is worth saying once logging works.
    pub warnings: Vec<String>,
}

/// The configuration is not valid; every fault is named.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not valid:\n  {}", .0.join("\n  "))]
pub struct InvalidConfig(Vec<String>);

/// `monitoring.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct MonitoringConfig {
    pub host: String,
    pub port: u16,
    pub on_http_port: bool,
    pub check_timeout: Duration,
}

/// `schedule.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct ScheduleConfig {
    pub enabled: bool,
    /// `None` only beside a fault, and a configuration with faults is handed to nobody.
    pub cron: Option<croner::Cron>,
    pub time_zone: chrono_tz::Tz,
    pub duration: Duration,
    pub items: i32,
    pub stock: i32,
    pub buyer_limit: i32,
    pub interval: Duration,
}

/// `catalogue.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct CatalogueConfig {
    pub item_name: String,
    pub image_url: String,
}

/// One of `checkout.code_keys`.
#[derive(Debug, Clone)]
pub struct CodeKey {
    /// Its name; a few letters of its hash are part of every code.
    pub id: String,
    /// The key, in base 64.
    pub secret: SecretString,
}

impl CodeKey {
    /// The key's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        BASE64.decode(self.secret.expose_secret()).unwrap_or_default()
    }
}

/// `board.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct BoardConfig {
    pub poll_interval: Duration,
    pub unknown_sales: usize,
}

/// `batch.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct BatchConfig {
    pub purchase_size: usize,
    pub checkout_size: usize,
    pub checkout_writers: usize,
    pub queue_size: usize,
    pub queue_timeout: Duration,
    pub wait_limit: Duration,
    pub retries: u32,
}

/// `database.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct DatabaseConfig {
    pub url: SecretString,
    pub parts: DatabaseParts,
    pub min_connections: u32,
    pub max_connections: u32,
    pub idle_timeout: Duration,
    pub max_lifetime: Duration,
    pub connect_timeout: Duration,
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
    pub idle_in_transaction_session_timeout: Duration,
    pub retries: usize,
    pub retry_delay: Duration,
    pub migrate_on_start: bool,
    pub slow_statement: Duration,
    pub circuit: CircuitConfig,
}

/// The parts of `database.*` that say where; each is `None` where a URL says it.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct DatabaseParts {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub name: Option<String>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    pub ssl_mode: Option<SslMode>,
    pub ssl_root_cert: Option<String>,
}

/// `database.ssl_mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "libpq's names")]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// `redis.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct RedisConfig {
    pub url: SecretString,
    pub key_prefix: String,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    pub circuit: CircuitConfig,
    pub lock_ttl: Duration,
    pub lock_wait: Duration,
    pub filter_interval: Duration,
    pub keep_after_sale: Duration,
}

/// `database.circuit.*`, `redis.circuit.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct CircuitConfig {
    pub mode: CircuitMode,
    pub failures: usize,
    pub recovery_time: Duration,
    pub probes: usize,
    pub probe_interval: Duration,
}

/// `*.circuit.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitMode {
    /// Opens and closes by itself.
    Auto,
    /// Callers never go through.
    Open,
    /// Callers always go through.
    Closed,
}

/// `refusals.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct RefusalsConfig {
    pub flush_interval: Duration,
    pub max_details: usize,
    pub details_per_flush: usize,
}

/// `idempotency.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct IdempotencyConfig {
    pub keep: Duration,
    pub prune_interval: Duration,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
    /// For people on a terminal, JSON otherwise.
    Auto,
}

/// `log.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct LogConfig {
    pub level: String,
    pub format: LogFormat,
    pub all_requests: bool,
}

/// `shutdown.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct ShutdownConfig {
    pub grace: Duration,
    pub drain: Duration,
}

impl Config {
    /// Loads all layers: the defaults in the binary or in `folder`, the profile, this process's environment.
    pub fn load(folder: Option<&Path>) -> Result<Self, InvalidConfig> {
        Self::from_environment(&std::env::vars().collect(), folder)
    }

    fn from_environment(
        environment: &Environment,
        folder: Option<&Path>,
    ) -> Result<Self, InvalidConfig> {
        let layers =
            layers::merge(environment, folder).map_err(|fault| InvalidConfig(vec![fault]))?;
        let Layers { merged, profile, from_environment, faults, warnings } = layers;
        let mut read = Reader::new(merged, faults);
        let config = Self {
            http: http::http(&mut read),
            monitoring: sections::monitoring(&mut read),
            schedule: sections::schedule(&mut read),
            catalogue: sections::catalogue(&mut read),
            code_keys: sections::code_keys(&mut read, &profile),
            board: sections::board(&mut read),
            batch: sections::batch(&mut read),
            database: sections::database(&mut read, &|part| {
                from_environment.contains(&format!("database.{part}"))
            }),
            redis: sections::redis(&mut read),
            refusals: sections::refusals(&mut read),
            idempotency: sections::idempotency(&mut read),
            log: sections::log(&mut read),
            shutdown: sections::shutdown(&mut read),
            profile,
            warnings,
        };
        if config.database.min_connections > config.database.max_connections {
            read.fault("database.min_connections", "must not be above database.max_connections");
        }
        if read.faults.is_empty() { Ok(config) } else { Err(InvalidConfig(read.faults)) }
    }
}
