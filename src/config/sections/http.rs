//! `http.*`: the port for front ends.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::config::reader::Reader;
use crate::config::units::{DAY, HOUR, MS};

/// `http.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct HttpConfig {
    pub host: String,
    pub port: u16,
    pub max_connections: usize,
    pub header_read_timeout: Duration,
    pub idle_timeout: Duration,
    pub body_read_timeout: Duration,
    pub write_timeout: Duration,
    pub request_timeout: Duration,
    pub max_head_bytes: usize,
    pub max_body_bytes: usize,
    pub max_streams: u32,
    /// If `None`, connections are not encrypted.
    pub tls: Option<TlsConfig>,
    pub cors: CorsConfig,
    pub links: LinksConfig,
    pub v1: SunsetConfig,
}

/// `http.tls.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct TlsConfig {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub reload_interval: Duration,
}

/// `http.cors.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct CorsConfig {
    pub origins: Origins,
    /// Names in lower case, beyond those that are always allowed.
    pub headers: Vec<String>,
    pub max_age: Duration,
}

/// `http.public_url` and `http.trusted_proxies`: how clients reach the service.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct LinksConfig {
    /// Without a slash at its end.
    pub public_url: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
}

/// `http.cors.origins`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Pages of other origins cannot read responses.
    None,
    /// Pages of every origin can.
    Any,
    /// Pages of these origins can.
    These(Vec<String>),
}

/// `http.v1.*`
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct SunsetConfig {
    pub deprecated_at: Option<DateTime<Utc>>,
    pub sunset_at: Option<DateTime<Utc>>,
    pub link: Option<String>,
}

impl HttpConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            host: read.filled("http.host"),
            port: read.number("http.port", 0..=u16::MAX),
            max_connections: read.number("http.max_connections", 1..=1_000_000),
            header_read_timeout: read.duration("http.header_read_timeout", 100 * MS..=HOUR),
            idle_timeout: read.duration("http.idle_timeout", 100 * MS..=HOUR),
            body_read_timeout: read.duration("http.body_read_timeout", 100 * MS..=HOUR),
            write_timeout: read.duration("http.write_timeout", 100 * MS..=HOUR),
            request_timeout: read.duration("http.request_timeout", 100 * MS..=HOUR),
            max_head_bytes: read.number("http.max_head_bytes", 8_192..=1 << 20),
            max_body_bytes: read.number("http.max_body_bytes", 0..=1 << 24),
            max_streams: read.number("http.max_streams", 1..=10_000),
            tls: TlsConfig::read(read),
            cors: CorsConfig::read(read),
            links: LinksConfig::read(read),
            v1: SunsetConfig::read(read, "http.v1"),
        }
    }
}

impl SunsetConfig {
    fn read(read: &mut Reader, section: &str) -> Self {
        let key = |name: &str| format!("{section}.{name}");
        let deprecated_at = read.time(&key("deprecated_at"));
        let sunset_at = read.time(&key("sunset_at"));
        if sunset_at.is_some() && deprecated_at.is_none_or(|at| Some(at) > sunset_at) {
            read.fault(&key("sunset_at"), "must not come before deprecated_at, nor without it");
        }
        let link = Some(read.text(&key("link"))).filter(|link| !link.is_empty());
        if link.as_ref().is_some_and(|link| !is_link(link)) {
            read.fault(&key("link"), "is not a URL");
        }
        Self { deprecated_at, sunset_at, link }
    }
}

/// Whether the link is absolute and needs no escaping in a header.
fn is_link(text: &str) -> bool {
    let is_absolute = text.starts_with("https://") || text.starts_with("http://");
    is_absolute && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte))
}

impl TlsConfig {
    /// `None` unless both files are given.
    fn read(read: &mut Reader) -> Option<Self> {
        let (certificate, key) = (read.text("http.tls.certificate"), read.text("http.tls.key"));
        let reload_interval = read.duration("http.tls.reload_interval", 10 * MS..=DAY);
        match (certificate.is_empty(), key.is_empty()) {
            (true, true) => return None,
            (true, false) => read.fault("http.tls.certificate", "must be given with http.tls.key"),
            (false, true) => read.fault("http.tls.key", "must be given with http.tls.certificate"),
            (false, false) => {}
        }
        Some(Self { certificate: certificate.into(), key: key.into(), reload_interval })
    }
}

impl LinksConfig {
    fn read(read: &mut Reader) -> Self {
        Self {
            public_url: public_url(read),
            trusted_proxies: read.networks("http.trusted_proxies"),
        }
    }
}

fn public_url(read: &mut Reader) -> Option<String> {
    const KEY: &str = "http.public_url";
    let url = Some(read.text(KEY)).filter(|url| !url.is_empty())?;
    if !is_link(&url) || url.contains(['?', '#']) {
        read.fault(
            KEY,
            "must be empty, or a URL such as https://shop.example/sale, without a query",
        );
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

impl CorsConfig {
    fn read(read: &mut Reader) -> Self {
        const KEY: &str = "http.cors.origins";
        let listed = read.list(KEY);
        let origins = match &listed[..] {
            [] => Origins::None,
            [any] if any == "*" => Origins::Any,
            some => {
                if !some.iter().all(|origin| is_origin(origin)) {
                    read.fault(KEY, "must be empty, *, or origins such as https://shop.example, separated by commas");
                }
                Origins::These(listed)
            }
        };
        Self {
            origins,
            headers: cors_headers(read),
            max_age: read.duration("http.cors.max_age", Duration::ZERO..=DAY),
        }
    }
}

fn cors_headers(read: &mut Reader) -> Vec<String> {
    const KEY: &str = "http.cors.headers";
    let names = read.list(KEY);
    if !names.iter().all(|name| is_token(name)) {
        read.fault(
            KEY,
            "must be empty, or names of headers such as X-Shop-Session, separated by commas",
        );
        return Vec::new();
    }
    names.into_iter().map(|name| name.to_ascii_lowercase()).collect()
}

/// Whether it is a token (RFC 9110, section 5.6.2), but for `*`, which would mean all headers.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// Whether it is a scheme, a host and an optional port, as browsers send them (RFC 6454, section 6.1).
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        let is_plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte)
        };
        !host.is_empty() && host.bytes().all(is_plain)
    })
}
