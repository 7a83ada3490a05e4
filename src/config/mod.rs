//! Configuration: loaded once, typed, validated as a whole, secrets redacted.
//!
//! `config/default.yaml` documents every key. [`Config::load`] tells all faults at once and never a value, which may be a
//! secret.

mod layers;
mod reader;
mod sections;

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

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

/// `http.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct HttpConfig {
    pub host: String,
    pub port: u16,
    pub max_connections: usize,
    pub header_read_timeout: Duration,
    pub body_read_timeout: Duration,
    pub write_timeout: Duration,
    pub request_timeout: Duration,
    pub max_head_bytes: usize,
    pub max_body_bytes: usize,
    pub v1: SunsetConfig,
}

/// `http.v1.*`
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct SunsetConfig {
    pub deprecated_at: Option<DateTime<Utc>>,
    pub sunset_at: Option<DateTime<Utc>>,
    pub link: Option<String>,
}

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
            http: sections::http(&mut read),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<Config, InvalidConfig> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::from_environment(&environment, None)
    }

    fn faults(environment: &[(&str, &str)]) -> String {
        load(environment).unwrap_err().to_string()
    }

    #[test]
    fn the_development_profile_needs_nothing() {
        let config = load(&[]).unwrap();

        assert_eq!(config.profile, "development");
        assert_eq!(config.database.max_connections, 10);
        assert_eq!(config.warnings.len(), 1);
    }

    #[test]
    fn profiles_differ_in_their_pools() {
        let key = ("FLASH_SALE__CHECKOUT__CODE_KEYS", "a:MDEyMzQ1Njc4OWFiY2RlZg==");
        let config = load(&[("FLASH_SALE_ENV", "production"), key]).unwrap();

        assert_eq!(config.database.max_connections, 50);
        assert_eq!(config.database.idle_timeout, Duration::from_mins(5));
        assert_eq!(config.database.max_lifetime, Duration::from_mins(30));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = faults(&[
            ("FLASH_SALE__HTTP__PORT", "99999"),
            ("FLASH_SALE__HTTP__COLOUR", "red"),
            ("FLASH_SALE__SHUTDOWN__DRAIN", "soon"),
            ("FLASH_SALE__DATABASE__SSL_MODE", "maybe"),
            ("FLASH_SALE__SCHEDULE__CRON", "whenever"),
            ("FLASH_SALE__SCHEDULE__TIME_ZONE", "Mars"),
            ("FLASH_SALE__LOG__LEVEL", "a=b=c"),
            ("FLASH_SALE__REDIS__KEY_PREFIX", "{shop}"),
        ]);

        for key in [
            "http.port",
            "http.colour",
            "shutdown.drain",
            "database.ssl_mode",
            "schedule.cron",
            "schedule.time_zone",
            "log.level",
            "redis.key_prefix",
        ] {
            assert!(faults.contains(key), "{key} is missing in: {faults}");
        }
    }

    #[test]
    fn a_schedule_that_never_starts_is_a_fault() {
        assert!(
            faults(&[("FLASH_SALE__SCHEDULE__CRON", "0 0 0 30 2 *")]).contains("schedule.cron")
        );
    }

    #[test]
    fn an_unknown_profile_is_an_error() {
        assert!(faults(&[("FLASH_SALE_ENV", "staging")]).contains("FLASH_SALE_ENV"));
    }

    #[test]
    fn production_refuses_the_development_key_and_no_key() {
        let development =
            ("FLASH_SALE__CHECKOUT__CODE_KEYS", "x:Zmxhc2gtc2FsZSBkZXZlbG9wbWVudCBrZXkhIQ==");

        assert!(
            faults(&[("FLASH_SALE_ENV", "production"), development]).contains("development key")
        );
        assert!(faults(&[("FLASH_SALE_ENV", "production")]).contains("at least one key"));
    }

    #[test]
    fn the_longer_name_wins_over_the_short_one() {
        let config = load(&[
            ("DATABASE_URL", "postgres://short"),
            ("FLASH_SALE__DATABASE__URL", "postgres://long"),
            ("REDIS_URL", "redis://short"),
        ])
        .unwrap();

        assert_eq!(config.database.url.expose_secret(), "postgres://long");
        assert_eq!(config.redis.url.expose_secret(), "redis://short");
    }

    #[test]
    fn a_part_that_the_environment_names_wins_over_the_url() {
        let config = load(&[
            ("DATABASE_URL", "postgres://short"),
            ("FLASH_SALE__DATABASE__HOST", "elsewhere"),
        ])
        .unwrap();

        assert_eq!(config.database.parts.host.as_deref(), Some("elsewhere"));
        assert_eq!(config.database.parts.port, None);
    }

    #[test]
    fn a_secret_can_come_from_a_file_and_is_never_shown() {
        let file = std::env::temp_dir().join(format!("flash-sale-secret-{}", std::process::id()));
        std::fs::write(&file, "hunter2\n").unwrap();
        let config =
            load(&[("FLASH_SALE__DATABASE__PASSWORD_FILE", file.to_str().unwrap())]).unwrap();
        std::fs::remove_file(&file).unwrap();

        let password = config.database.parts.password.as_ref().unwrap();
        assert_eq!(password.expose_secret(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn faults_never_tell_values() {
        let faults = faults(&[("FLASH_SALE__CHECKOUT__CODE_KEYS", "hunter2:hunter2")]);

        assert!(!faults.contains("hunter2"), "{faults}");
    }
}
