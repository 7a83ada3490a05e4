//! Configuration: loaded once, typed, validated as a whole, secrets redacted.
//!
//! `config/default.yaml` documents every key. [`Config::load`] tells all faults at once and never a value, which may be a
//! secret.

mod layers;
mod reader;

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};

use layers::{Environment, Layers};
use reader::Reader;

/// Signs codes in development. It is public, so no other profile takes it.
const DEVELOPMENT_KEY: &[u8] = b"flash-sale development key!!";
/// Shortest key that signs codes, in bytes.
const MIN_KEY_BYTES: usize = 16;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

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
    pub request_timeout: Duration,
    pub max_head_bytes: usize,
    pub max_body_bytes: usize,
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
    pub cron: String,
    pub time_zone: String,
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
    pub pool_size: usize,
    pub probe_interval: Duration,
    pub lock_ttl: Duration,
    pub lock_wait: Duration,
    pub filter_interval: Duration,
    pub keep_after_sale: Duration,
}

/// `refusals.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct RefusalsConfig {
    pub flush_interval: Duration,
    pub max_details: usize,
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
            http: http(&mut read),
            monitoring: monitoring(&mut read),
            schedule: schedule(&mut read),
            catalogue: CatalogueConfig {
                item_name: read.filled("catalogue.item_name"),
                image_url: read.filled("catalogue.image_url"),
            },
            code_keys: code_keys(&mut read, &profile),
            board: BoardConfig {
                poll_interval: read.duration("board.poll_interval", 10 * MS..=900 * MS),
                unknown_sales: read.number("board.unknown_sales", 1..=1_000_000),
            },
            batch: batch(&mut read),
            database: database(&mut read, &|part| {
                from_environment.contains(&format!("database.{part}"))
            }),
            redis: redis(&mut read),
            refusals: RefusalsConfig {
                flush_interval: read.duration("refusals.flush_interval", 10 * MS..=SECOND),
                max_details: read.number("refusals.max_details", 0..=1_000_000),
            },
            log: log(&mut read),
            shutdown: ShutdownConfig {
                grace: read.duration("shutdown.grace", Duration::ZERO..=HOUR),
                drain: read.duration("shutdown.drain", SECOND..=HOUR),
            },
            profile,
            warnings,
        };
        if config.database.min_connections > config.database.max_connections {
            read.fault("database.min_connections", "must not be above database.max_connections");
        }
        if read.faults.is_empty() { Ok(config) } else { Err(InvalidConfig(read.faults)) }
    }
}

fn http(read: &mut Reader) -> HttpConfig {
    HttpConfig {
        host: read.filled("http.host"),
        port: read.number("http.port", 0..=u16::MAX),
        max_connections: read.number("http.max_connections", 1..=1_000_000),
        header_read_timeout: read.duration("http.header_read_timeout", 100 * MS..=HOUR),
        body_read_timeout: read.duration("http.body_read_timeout", 100 * MS..=HOUR),
        request_timeout: read.duration("http.request_timeout", 100 * MS..=HOUR),
        max_head_bytes: read.number("http.max_head_bytes", 8_192..=1 << 20),
        max_body_bytes: read.number("http.max_body_bytes", 0..=1 << 24),
    }
}

fn monitoring(read: &mut Reader) -> MonitoringConfig {
    MonitoringConfig {
        host: read.filled("monitoring.host"),
        port: read.number("monitoring.port", 0..=u16::MAX),
        on_http_port: read.flag("monitoring.on_http_port"),
        check_timeout: read.duration("monitoring.check_timeout", 10 * MS..=MINUTE),
    }
}

fn schedule(read: &mut Reader) -> ScheduleConfig {
    use crate::domain::sale::{MAX_BUYER_LIMIT, MAX_ITEMS, MAX_STOCK};
    ScheduleConfig {
        enabled: read.flag("schedule.enabled"),
        cron: read.filled("schedule.cron"),
        time_zone: read.filled("schedule.time_zone"),
        duration: read.duration("schedule.duration", SECOND..=365 * DAY),
        items: read.number("schedule.items", 1..=MAX_ITEMS),
        stock: read.number("schedule.stock", 1..=MAX_STOCK),
        buyer_limit: read.number("schedule.buyer_limit", 1..=MAX_BUYER_LIMIT),
        interval: read.duration("schedule.interval", 10 * MS..=MINUTE),
    }
}

fn batch(read: &mut Reader) -> BatchConfig {
    BatchConfig {
        purchase_size: read.number("batch.purchase_size", 1..=10_000),
        checkout_size: read.number("batch.checkout_size", 1..=10_000),
        checkout_writers: read.number("batch.checkout_writers", 1..=64),
        queue_size: read.number("batch.queue_size", 1..=1_000_000),
        queue_timeout: read.duration("batch.queue_timeout", 10 * MS..=MINUTE),
        retries: read.number("batch.retries", 0..=100),
    }
}

fn database(read: &mut Reader, set_by_environment: &dyn Fn(&str) -> bool) -> DatabaseConfig {
    let url = read.secret("database.url");
    // With a URL the single parts are silent, except those that the environment names on their own.
    let no_url = url.expose_secret().is_empty();
    let says = |part: &str| no_url || set_by_environment(part);
    let parts = DatabaseParts {
        host: says("host").then(|| read.filled("database.host")),
        port: says("port").then(|| read.number("database.port", 1..=u16::MAX)),
        name: says("name").then(|| read.filled("database.name")),
        username: says("username").then(|| read.filled("database.username")),
        password: Some(read.secret("database.password"))
            .filter(|password| says("password") && !password.expose_secret().is_empty()),
        ssl_mode: ssl_mode(read).filter(|_| says("ssl_mode")),
        ssl_root_cert: Some(read.text("database.ssl_root_cert")).filter(|path| !path.is_empty()),
    };
    DatabaseConfig {
        url,
        parts,
        min_connections: read.number("database.min_connections", 0..=10_000),
        max_connections: read.number("database.max_connections", 1..=10_000),
        idle_timeout: read.duration("database.idle_timeout", SECOND..=DAY),
        max_lifetime: read.duration("database.max_lifetime", SECOND..=7 * DAY),
        connect_timeout: read.duration("database.connect_timeout", 10 * MS..=10 * MINUTE),
        statement_timeout: read.duration("database.statement_timeout", 10 * MS..=HOUR),
        lock_timeout: read.duration("database.lock_timeout", MS..=MINUTE),
        idle_in_transaction_session_timeout: read
            .duration("database.idle_in_transaction_session_timeout", 10 * MS..=MINUTE),
        retries: read.number("database.retries", 0..=1_000),
        retry_delay: read.duration("database.retry_delay", MS..=MINUTE),
        migrate_on_start: read.flag("database.migrate_on_start"),
        slow_statement: read.duration("database.slow_statement", MS..=HOUR),
    }
}

fn ssl_mode(read: &mut Reader) -> Option<SslMode> {
    read.choice(
        "database.ssl_mode",
        &[
            ("disable", SslMode::Disable),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
    )
}

fn redis(read: &mut Reader) -> RedisConfig {
    let url = read.secret("redis.url");
    if url.expose_secret().is_empty() {
        read.fault("redis.url", "must not be empty");
    }
    RedisConfig {
        url,
        key_prefix: read.text("redis.key_prefix"),
        connect_timeout: read.duration("redis.connect_timeout", 10 * MS..=MINUTE),
        response_timeout: read.duration("redis.response_timeout", MS..=MINUTE),
        pool_size: read.number("redis.pool_size", 1..=1_000),
        probe_interval: read.duration("redis.probe_interval", 10 * MS..=MINUTE),
        lock_ttl: read.duration("redis.lock_ttl", 100 * MS..=MINUTE),
        lock_wait: read.duration("redis.lock_wait", Duration::ZERO..=MINUTE),
        filter_interval: read.duration("redis.filter_interval", 10 * MS..=HOUR),
        keep_after_sale: read.duration("redis.keep_after_sale", SECOND..=7 * DAY),
    }
}

fn log(read: &mut Reader) -> LogConfig {
    let formats =
        [("json", LogFormat::Json), ("pretty", LogFormat::Pretty), ("auto", LogFormat::Auto)];
    LogConfig {
        level: read.filled("log.level"),
        format: read.choice("log.format", &formats).unwrap_or(LogFormat::Json),
        all_requests: read
            .choice("log.requests", &[("all", true), ("failures", false)])
            .unwrap_or(false),
    }
}

fn code_keys(read: &mut Reader, profile: &str) -> Vec<CodeKey> {
    const KEY: &str = "checkout.code_keys";
    let text = read.text(KEY);
    let mut keys: Vec<CodeKey> = Vec::new();
    for (place, entry) in
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).enumerate()
    {
        let place = place + 1;
        let Some((id, encoded)) = entry.split_once(':') else {
            read.fault(KEY, format!("key {place} must look like id:base64"));
            continue;
        };
        let id_is_plain = (1..=32).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !id_is_plain || keys.iter().any(|key| key.id == id) {
            read.fault(
                KEY,
                format!("key {place} needs an id of its own: 1 to 32 letters, digits, - or _"),
            );
        }
        let key = CodeKey { id: id.to_owned(), secret: SecretString::from(encoded) };
        let bytes = key.bytes();
        if bytes.len() < MIN_KEY_BYTES {
            read.fault(
                KEY,
                format!("key {place} must be at least {MIN_KEY_BYTES} bytes in base 64"),
            );
        }
        if bytes == DEVELOPMENT_KEY && profile != "development" {
            read.fault(KEY, format!("key {place} is the public development key; make one with `openssl rand -base64 32`"));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        read.fault(KEY, "at least one key is needed; make one with `openssl rand -base64 32`");
    }
    keys
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
        assert_eq!(config.database.idle_timeout, 5 * MINUTE);
        assert_eq!(config.database.max_lifetime, 30 * MINUTE);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = faults(&[
            ("FLASH_SALE__HTTP__PORT", "99999"),
            ("FLASH_SALE__HTTP__COLOUR", "red"),
            ("FLASH_SALE__SHUTDOWN__DRAIN", "soon"),
            ("FLASH_SALE__DATABASE__SSL_MODE", "maybe"),
        ]);

        for key in ["http.port", "http.colour", "shutdown.drain", "database.ssl_mode"] {
            assert!(faults.contains(key), "{key} is missing in: {faults}");
        }
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
