//! `redis.*`

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::circuit::CircuitConfig;
use super::redis_servers::RedisServers;
use crate::config::reader::Reader;
use crate::config::units::{DAY, HOUR, MINUTE, MS, SECOND};

/// Maximum length of the key prefix, in bytes.
const MAX_PREFIX_BYTES: usize = 64;

/// `redis.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct RedisConfig {
    pub url: SecretString,
    pub servers: RedisServers,
    pub ssl_root_cert: Option<PathBuf>,
    pub key_prefix: String,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    pub circuit: CircuitConfig,
    pub lock_ttl: Duration,
    pub lock_wait: Duration,
    pub filter_interval: Duration,
    pub keep_after_sale: Duration,
}

impl RedisConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        let url = url(read);
        Self {
            servers: RedisServers::read(read, &url),
            url,
            ssl_root_cert: ssl_root_cert(read),
            key_prefix: key_prefix(read),
            connect_timeout: read.duration("redis.connect_timeout", 10 * MS..=MINUTE),
            response_timeout: read.duration("redis.response_timeout", MS..=MINUTE),
            circuit: CircuitConfig::read(read, "redis"),
            lock_ttl: read.duration("redis.lock_ttl", 100 * MS..=MINUTE),
            lock_wait: read.duration("redis.lock_wait", Duration::ZERO..=MINUTE),
            filter_interval: read.duration("redis.filter_interval", 10 * MS..=HOUR),
            keep_after_sale: read.duration("redis.keep_after_sale", SECOND..=7 * DAY),
        }
    }
}

fn url(read: &mut Reader) -> SecretString {
    const KEY: &str = "redis.url";
    let url = read.secret(KEY);
    if url.expose_secret().is_empty() {
        read.fault(KEY, "must not be empty");
    }
    url
}

fn ssl_root_cert(read: &mut Reader) -> Option<PathBuf> {
    const KEY: &str = "redis.ssl_root_cert";
    let file = read.file(KEY);
    if file.is_some() && !read.secret("redis.url").expose_secret().starts_with("rediss://") {
        read.fault(KEY, "needs a redis.url that begins with rediss://");
    }
    file
}

/// Braces would move the hash tag that keeps a sale's keys on one node; the other bounds keep keys readable.
fn key_prefix(read: &mut Reader) -> String {
    const KEY: &str = "redis.key_prefix";
    let prefix = read.text(KEY);
    if prefix.len() > MAX_PREFIX_BYTES
        || prefix.contains(['{', '}'])
        || prefix.contains(char::is_control)
    {
        read.fault(KEY, "must have at most 64 characters, and no braces or controls");
    }
    prefix
}
