//! One exchange with the collector.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use axum::http::uri::InvalidUri;
use axum::http::{Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use rustls::crypto::ring;
use secrecy::ExposeSecret;

use crate::application::ports::Causes;
use crate::config::OtlpConfig;

/// The part of an answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
const AGENT: &str = concat!("flash-sale/", env!("CARGO_PKG_VERSION"));

/// The configuration does not describe a collector.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidCollector {
    /// The endpoint.
    #[error("telemetry.otlp.endpoint: {0}")]
    Endpoint(#[from] InvalidUri),
    /// The cryptography provider supports no protocol version.
    #[error("cannot set up TLS for telemetry.otlp.endpoint: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a collector has not taken a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// It may take the same request later.
    #[error("{0}")]
    ForNow(String),
    /// It will never take it.
    #[error("{0}")]
    AtAll(String),
}

/// The collector.
pub(super) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
}

impl Collector {
    pub(super) fn new(config: &OtlpConfig) -> Result<Self, InvalidCollector> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build(connector);
        let headers = config.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::try_from(value.expose_secret()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        });
        Ok(Self {
            client,
            endpoint: config.traces_url().parse()?,
            headers: headers.collect(),
            timeout: config.timeout,
        })
    }

    /// Sends spans. Returns how many of them the collector rejects.
    pub(super) async fn send(&self, spans: &ExportTraceServiceRequest) -> Result<u64, NotTaken> {
        let body = Bytes::from(spans.encode_to_vec());
        tokio::time::timeout(self.timeout, self.exchange(body)).await.unwrap_or_else(|_| {
            let timeout = humantime::format_duration(self.timeout);
            Err(NotTaken::ForNow(format!("no answer within {timeout} (telemetry.otlp.timeout)")))
        })
    }

    async fn exchange(&self, body: Bytes) -> Result<u64, NotTaken> {
        let mut request = Request::post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, AGENT)
            .body(Full::new(body))
            .map_err(|error| NotTaken::AtAll(error.to_string()))?;
        request.headers_mut().extend(self.headers.iter().cloned());
        let answered = self.client.request(request).await;
        let answer = answered.map_err(|error| NotTaken::ForNow(Causes(&error).to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        if !status.is_success() {
            let text = format!("the collector answers {status}");
            let is_busy = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ];
            let kind = if is_busy.contains(&status) { NotTaken::ForNow } else { NotTaken::AtAll };
            return Err(kind(text));
        }
        // An answer that says nothing rejects nothing.
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partly| partly.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or_default())
    }
}
