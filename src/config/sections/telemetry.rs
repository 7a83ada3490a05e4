//! `telemetry.*`: traces, and where they are sent.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::reader::Reader;
use crate::config::units::{MINUTE, MS};

/// Where OTLP over HTTP has traces, below the endpoint.
const TRACES_PATH: &str = "/v1/traces";
/// Maximum length of the service's name, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// `telemetry.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct TelemetryConfig {
    pub otlp: Option<OtlpConfig>,
    pub sample_ratio: f64,
    pub service_name: String,
}

/// `telemetry.otlp.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct OtlpConfig {
    pub endpoint: Url,
    pub headers: Vec<(String, SecretString)>,
    pub timeout: Duration,
}

impl OtlpConfig {
    /// The URL that takes traces.
    pub(crate) fn traces_url(&self) -> String {
        let base = self.endpoint.as_str().trim_end_matches('/');
        if base.ends_with(TRACES_PATH) { base.to_owned() } else { format!("{base}{TRACES_PATH}") }
    }
}

impl TelemetryConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        let endpoint = endpoint(read);
        let headers = headers(read);
        let timeout = read.duration("telemetry.otlp.timeout", 10 * MS..=MINUTE);
        Self {
            otlp: endpoint.map(|endpoint| OtlpConfig { endpoint, headers, timeout }),
            sample_ratio: read.ratio("telemetry.sample_ratio"),
            service_name: service_name(read),
        }
    }
}

fn endpoint(read: &mut Reader) -> Option<Url> {
    const KEY: &str = "telemetry.otlp.endpoint";
    let text = Some(read.text(KEY)).filter(|text| !text.is_empty())?;
    let is_fit = |url: &Url| {
        ["http", "https"].contains(&url.scheme())
            && url.has_host()
            && url.query().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    };
    let url = Url::parse(&text).ok().filter(is_fit);
    if url.is_none() {
        read.fault(
            KEY,
            "must be the URL of a collector's OTLP port for HTTP, such as http://collector:4318; \
             secrets belong into telemetry.otlp.headers",
        );
    }
    url
}

fn headers(read: &mut Reader) -> Vec<(String, SecretString)> {
    const KEY: &str = "telemetry.otlp.headers";
    let text = read.secret(KEY);
    let mut headers = Vec::new();
    for part in text.expose_secret().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let is_token = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_visible = |value: &str| value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match part.split_once('=') {
            Some((name, value)) if is_token(name.trim()) && is_visible(value.trim()) => {
                headers.push((name.trim().to_owned(), value.trim().to_owned().into()));
            }
            _ => read.fault(KEY, "must be headers as name=value, separated by commas"),
        }
    }
    headers
}

fn service_name(read: &mut Reader) -> String {
    const KEY: &str = "telemetry.service_name";
    let name = read.filled(KEY);
    if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
        read.fault(KEY, "must have at most 128 characters, and no controls");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_have_a_path_of_their_own_below_the_endpoint() {
        let url = |endpoint: &str| {
            let endpoint = Url::parse(endpoint).unwrap();
            OtlpConfig { endpoint, headers: Vec::new(), timeout: Duration::ZERO }.traces_url()
        };

        assert_eq!(url("http://collector:4318"), "http://collector:4318/v1/traces");
        assert_eq!(url("http://collector:4318/otlp/"), "http://collector:4318/otlp/v1/traces");
        assert_eq!(url("http://collector/v1/traces"), "http://collector/v1/traces");
    }
}
