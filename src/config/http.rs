//! `http.*`

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::reader::Reader;
use super::sections::{HOUR, MS};

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
    pub max_streams: u32,
    /// Without it, everything is in the clear.
    pub tls: Option<TlsConfig>,
    pub cors: CorsConfig,
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
    pub max_age: Duration,
}

/// `http.cors.origins`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// No other origin's pages may read answers.
    None,
    /// All may.
    Any,
    /// These may.
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

pub(crate) fn http(read: &mut Reader) -> HttpConfig {
    HttpConfig {
        host: read.filled("http.host"),
        port: read.number("http.port", 0..=u16::MAX),
        max_connections: read.number("http.max_connections", 1..=1_000_000),
        header_read_timeout: read.duration("http.header_read_timeout", 100 * MS..=HOUR),
        body_read_timeout: read.duration("http.body_read_timeout", 100 * MS..=HOUR),
        write_timeout: read.duration("http.write_timeout", 100 * MS..=HOUR),
        request_timeout: read.duration("http.request_timeout", 100 * MS..=HOUR),
        max_head_bytes: read.number("http.max_head_bytes", 8_192..=1 << 20),
        max_body_bytes: read.number("http.max_body_bytes", 0..=1 << 24),
        max_streams: read.number("http.max_streams", 1..=10_000),
        tls: tls(read),
        cors: cors(read),
        v1: sunset(read, "http.v1"),
    }
}

fn sunset(read: &mut Reader, section: &str) -> SunsetConfig {
    let key = |name: &str| format!("{section}.{name}");
    let deprecated_at = read.moment(&key("deprecated_at"));
    let sunset_at = read.moment(&key("sunset_at"));
    if sunset_at.is_some() && deprecated_at.is_none_or(|at| Some(at) > sunset_at) {
        read.fault(&key("sunset_at"), "must not come before deprecated_at, nor without it");
    }
    let link = Some(read.text(&key("link"))).filter(|link| !link.is_empty());
    if link.as_ref().is_some_and(|link| !is_link(link)) {
        read.fault(&key("link"), "is not a URL");
    }
    SunsetConfig { deprecated_at, sunset_at, link }
}

/// A link that can stand in a header as it is.
fn is_link(text: &str) -> bool {
    let is_absolute = text.starts_with("https://") || text.starts_with("http://");
    is_absolute && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte))
}

/// Both files or none.
fn tls(read: &mut Reader) -> Option<TlsConfig> {
    let (certificate, key) = (read.text("http.tls.certificate"), read.text("http.tls.key"));
    let reload_interval = read.duration("http.tls.reload_interval", 10 * MS..=24 * HOUR);
    match (certificate.is_empty(), key.is_empty()) {
        (true, true) => return None,
        (true, false) => read.fault("http.tls.certificate", "must be given with http.tls.key"),
        (false, true) => read.fault("http.tls.key", "must be given with http.tls.certificate"),
        (false, false) => {}
    }
    Some(TlsConfig { certificate: certificate.into(), key: key.into(), reload_interval })
}

fn cors(read: &mut Reader) -> CorsConfig {
    const KEY: &str = "http.cors.origins";
    let text = read.text(KEY);
    let listed = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    let listed: Vec<String> = listed.map(str::to_owned).collect();
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
    CorsConfig { origins, max_age: read.duration("http.cors.max_age", Duration::ZERO..=24 * HOUR) }
}

/// Scheme, host and perhaps a port, as browsers send them (RFC 6454, section 6.1).
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        let is_plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte)
        };
        !host.is_empty() && host.bytes().all(is_plain)
    })
}
