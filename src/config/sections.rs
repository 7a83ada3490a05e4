//! The sections: every key with its type and its bounds.

use std::time::Duration;

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;

use super::reader::Reader;
use super::{
    BatchConfig, BoardConfig, CatalogueConfig, CircuitConfig, CircuitMode, CodeKey, DatabaseConfig,
    DatabaseParts, IdempotencyConfig, LogConfig, LogFormat, MonitoringConfig, RedisConfig,
    RefusalsConfig, ScheduleConfig, ShutdownConfig, SslMode,
};

/// Signs codes in development. It is public, so no other profile takes it.
const DEVELOPMENT_KEY: &[u8] = b"flash-sale development key!!";
/// Shortest key that signs codes, in bytes.
const MIN_KEY_BYTES: usize = 16;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

pub(crate) fn monitoring(read: &mut Reader) -> MonitoringConfig {
    MonitoringConfig {
        host: read.filled("monitoring.host"),
        port: read.number("monitoring.port", 0..=u16::MAX),
        on_http_port: read.flag("monitoring.on_http_port"),
        check_timeout: read.duration("monitoring.check_timeout", 10 * MS..=MINUTE),
    }
}

pub(crate) fn schedule(read: &mut Reader) -> ScheduleConfig {
    use crate::domain::sale::{MAX_BUYER_LIMIT, MAX_ITEMS, MAX_STOCK};
    ScheduleConfig {
        enabled: read.flag("schedule.enabled"),
        cron: cron(read),
        time_zone: time_zone(read),
        duration: read.duration("schedule.duration", SECOND..=365 * DAY),
        items: read.number("schedule.items", 1..=MAX_ITEMS),
        stock: read.number("schedule.stock", 1..=MAX_STOCK),
        buyer_limit: read.number("schedule.buyer_limit", 1..=MAX_BUYER_LIMIT),
        interval: read.duration("schedule.interval", 10 * MS..=MINUTE),
    }
}

/// Six fields with seconds, or five without.
fn cron(read: &mut Reader) -> Option<Cron> {
    const KEY: &str = "schedule.cron";
    let text = read.filled(KEY);
    let parse = |text: &str| CronParser::builder().seconds(Seconds::Optional).build().parse(text);
    match parse(&text) {
        Ok(cron) if cron.find_next_occurrence(&DateTime::UNIX_EPOCH, false).is_ok() => {
            return Some(cron);
        }
        Ok(_) => read.fault(KEY, "must have a start that comes one day"),
        Err(error) => read.fault(KEY, format!("is not a cron expression: {error}")),
    }
    None
}

fn time_zone(read: &mut Reader) -> Tz {
    const KEY: &str = "schedule.time_zone";
    read.filled(KEY).parse().unwrap_or_else(|_| {
        read.fault(KEY, "must be the IANA name of a time zone");
        Tz::UTC
    })
}

pub(crate) fn batch(read: &mut Reader) -> BatchConfig {
    BatchConfig {
        purchase_size: read.number("batch.purchase_size", 1..=10_000),
        checkout_size: read.number("batch.checkout_size", 1..=10_000),
        checkout_writers: read.number("batch.checkout_writers", 1..=64),
        queue_size: read.number("batch.queue_size", 1..=1_000_000),
        queue_timeout: read.duration("batch.queue_timeout", 10 * MS..=MINUTE),
        wait_limit: read.duration("batch.wait_limit", 10 * MS..=MINUTE),
        retries: read.number("batch.retries", 0..=100),
    }
}

pub(crate) fn database(
    read: &mut Reader,
    set_by_environment: &dyn Fn(&str) -> bool,
) -> DatabaseConfig {
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
        circuit: circuit(read, "database.circuit"),
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

pub(crate) fn redis(read: &mut Reader) -> RedisConfig {
    let url = read.secret("redis.url");
    if url.expose_secret().is_empty() {
        read.fault("redis.url", "must not be empty");
    }
    let key_prefix = read.text("redis.key_prefix");
    // Braces would move the hash tag that keeps a sale's keys together, and the rest is for people who read keys.
    if key_prefix.len() > 64
        || key_prefix.contains(['{', '}'])
        || key_prefix.contains(char::is_control)
    {
        read.fault(
            "redis.key_prefix",
            "must have at most 64 characters, and no braces or controls",
        );
    }
    RedisConfig {
        url,
        key_prefix,
        connect_timeout: read.duration("redis.connect_timeout", 10 * MS..=MINUTE),
        response_timeout: read.duration("redis.response_timeout", MS..=MINUTE),
        circuit: circuit(read, "redis.circuit"),
        lock_ttl: read.duration("redis.lock_ttl", 100 * MS..=MINUTE),
        lock_wait: read.duration("redis.lock_wait", Duration::ZERO..=MINUTE),
        filter_interval: read.duration("redis.filter_interval", 10 * MS..=HOUR),
        keep_after_sale: read.duration("redis.keep_after_sale", SECOND..=7 * DAY),
    }
}

fn circuit(read: &mut Reader, section: &str) -> CircuitConfig {
    let key = |name: &str| format!("{section}.{name}");
    let modes =
        [("auto", CircuitMode::Auto), ("open", CircuitMode::Open), ("closed", CircuitMode::Closed)];
    CircuitConfig {
        mode: read.choice(&key("mode"), &modes).unwrap_or(CircuitMode::Auto),
        failures: read.number(&key("failures"), 1..=1_000),
        recovery_time: read.duration(&key("recovery_time"), 10 * MS..=MINUTE),
        probes: read.number(&key("probes"), 1..=100),
        probe_interval: read.duration(&key("probe_interval"), 10 * MS..=MINUTE),
    }
}

pub(crate) fn log(read: &mut Reader) -> LogConfig {
    let level = read.filled("log.level");
    if let Err(error) = EnvFilter::try_new(&level) {
        read.fault("log.level", error);
    }
    let formats =
        [("json", LogFormat::Json), ("pretty", LogFormat::Pretty), ("auto", LogFormat::Auto)];
    LogConfig {
        level,
        format: read.choice("log.format", &formats).unwrap_or(LogFormat::Json),
        all_requests: read
            .choice("log.requests", &[("all", true), ("failures", false)])
            .unwrap_or(false),
    }
}

pub(crate) fn code_keys(read: &mut Reader, profile: &str) -> Vec<CodeKey> {
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

pub(crate) fn catalogue(read: &mut Reader) -> CatalogueConfig {
    CatalogueConfig {
        item_name: read.filled("catalogue.item_name"),
        image_url: read.filled("catalogue.image_url"),
    }
}

pub(crate) fn board(read: &mut Reader) -> BoardConfig {
    BoardConfig {
        poll_interval: read.duration("board.poll_interval", 10 * MS..=900 * MS),
        unknown_sales: read.number("board.unknown_sales", 1..=1_000_000),
    }
}

pub(crate) fn refusals(read: &mut Reader) -> RefusalsConfig {
    RefusalsConfig {
        flush_interval: read.duration("refusals.flush_interval", 10 * MS..=SECOND),
        max_details: read.number("refusals.max_details", 0..=1_000_000),
        details_per_flush: read.number("refusals.details_per_flush", 0..=1_000_000),
    }
}

pub(crate) fn shutdown(read: &mut Reader) -> ShutdownConfig {
    ShutdownConfig {
        grace: read.duration("shutdown.grace", Duration::ZERO..=HOUR),
        drain: read.duration("shutdown.drain", SECOND..=HOUR),
    }
}

pub(crate) fn idempotency(read: &mut Reader) -> IdempotencyConfig {
    IdempotencyConfig {
        keep: read.duration("idempotency.keep", HOUR..=365 * DAY),
        prune_interval: read.duration("idempotency.prune_interval", 10 * MS..=DAY),
    }
}
