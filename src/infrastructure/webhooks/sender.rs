//! Signs an event, sends it, and reads the answer within bounds.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::KeyValue;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::connector::{GuardedConnector, NotConnected, Resolve, SystemResolver};
use super::endpoint::endpoint;
use super::signature::signatures;
use crate::application::ports::{
    Causes, EndpointAnswer, Message, NoAnswer, Target, UnfitUrl, WebhookSender,
};
use crate::config::WebhooksConfig;
use crate::infrastructure::traces::{Kind, Root};

/// Part of an answer's body that is read. The rest is not, and its connection is closed.
const MAX_BODY_BYTES: usize = 4096;
/// Maximum size of an answer's head.
const MAX_HEAD_BYTES: usize = 16_384;
/// How long the body of an answer is waited for: its status is known.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// How long an idle connection is kept: below the idle time of most servers, which would close it while an event is sent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// One address may use this part of the time for an exchange to accept.
const CONNECT_PART: u32 = 3;

/// The media type of a `CloudEvent` in its structured form.
const MEDIA_TYPE: &str = "application/cloudevents+json";
const AGENT: &str = concat!("flash-sale/", env!("CARGO_PKG_VERSION"));

/// The certificate authorities of endpoints cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRoots {
    /// The file cannot be read, or is not PEM.
    #[error("webhooks.ssl_root_cert: {0}: {1}")]
    File(String, #[source] rustls::pki_types::pem::Error),
    /// A certificate cannot be an authority.
    #[error("webhooks.ssl_root_cert: {0}")]
    Certificate(#[source] rustls::Error),
    /// The cryptography provider supports no protocol version.
    #[error("cannot set up TLS for webhooks: {0}")]
    Protocol(#[source] rustls::Error),
}

/// Sends events over HTTP/1.1.
pub(crate) struct HttpWebhookSender {
    client: Client<GuardedConnector, Full<Bytes>>,
    timeout: Duration,
    allow_private: bool,
}

impl HttpWebhookSender {
    /// As configured.
    pub(crate) fn new(config: &WebhooksConfig) -> Result<Self, InvalidRoots> {
        Self::resolving(config, Arc::new(SystemResolver))
    }

    /// With another way to find addresses.
    pub(crate) fn resolving(
        config: &WebhooksConfig,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, InvalidRoots> {
        let connector = GuardedConnector {
            resolver,
            tls: tls(config.ssl_root_cert.as_deref())?,
            allow_private: config.allow_private,
            connect_timeout: config.timeout / CONNECT_PART,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(config.concurrency)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Ok(Self { client, timeout: config.timeout, allow_private: config.allow_private })
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        at: DateTime<Utc>,
    ) -> Result<EndpointAnswer, NoAnswer> {
        let answered = self.client.request(request).await;
        let answer = answered.map_err(|error| NoAnswer(reason(&error)))?;
        let status = answer.status().as_u16();
        let retry_after = retry_after(answer.headers(), at);
        let beginning = beginning(answer.into_body()).await;
        Ok(EndpointAnswer { status, retry_after, beginning })
    }
}

#[async_trait]
impl WebhookSender for HttpWebhookSender {
    fn endpoint(&self, url: &str) -> Result<String, UnfitUrl> {
        let url = String::from(endpoint(url, self.allow_private)?);
        match url.parse::<Uri>() {
            Ok(_) => Ok(url),
            Err(error) => Err(UnfitUrl(format!("the URL cannot be sent to: {error}"))),
        }
    }

    async fn send(&self, target: &Target, message: &Message) -> Result<EndpointAnswer, NoAnswer> {
        let trace = Root::of_work("webhook", Kind::Client);
        let answer = trace.run(self.sign_and_send(target, message, trace.headers())).await;
        let status = answer.as_ref().map_or(0, |answer| i64::from(answer.status));
        let describe = || {
            let status = KeyValue::new("http.response.status_code", status);
            ("webhook".to_owned(), vec![status])
        };
        trace.end(describe, answer.is_err().then_some("no answer"));
        answer
    }
}

impl HttpWebhookSender {
    async fn sign_and_send(
        &self,
        target: &Target,
        message: &Message,
        trace: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<EndpointAnswer, NoAnswer> {
        let unreadable = || NoAnswer("its secret is not readable: rotate it".to_owned());
        let signatures = signatures(&target.secrets, message).ok_or_else(unreadable)?;
        let mut request = Request::post(&*target.url)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(USER_AGENT, AGENT)
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", message.at.timestamp())
            .header("webhook-signature", signatures)
            .body(Full::new(message.body.clone()))
            .map_err(|error| NoAnswer(error.to_string()))?;
        request.headers_mut().extend(trace);
        let exchange = self.exchange(request, message.at);
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or_else(|_| {
            let timeout = humantime::format_duration(self.timeout);
            Err(NoAnswer(format!("no answer within {timeout} (webhooks.timeout)")))
        })
    }
}

fn tls(roots: Option<&Path>) -> Result<TlsConnector, InvalidRoots> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let unreadable = |error| InvalidRoots::File(path.display().to_string(), error);
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                let certificate = certificate.map_err(unreadable)?;
                store.add(certificate).map_err(InvalidRoots::Certificate)?;
            }
        }
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(InvalidRoots::Protocol)?;
    let mut config = builder.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What an operator needs to know of a failure: why there is no connection, else all that the client says.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(not_connected) = inner.downcast_ref::<NotConnected>() {
            return not_connected.to_string();
        }
        cause = inner.source();
    }
    format!("the exchange failed: {}", Causes(error))
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

/// The beginning of a body. A short one is read to its end, so that its connection serves the next event.
async fn beginning(mut body: Incoming) -> String {
    let mut read = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.into_data().unwrap_or_default();
            let room = MAX_BODY_BYTES - read.len();
            read.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if bytes.len() > room {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(BODY_PATIENCE, reading).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::HeaderValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::application::ports::WebhookSecrets;
    use crate::infrastructure::webhooks::RandomSecrets;
    use crate::testing::builders::at;

    /// Addresses that a name has, the first time and later.
    struct Names(Vec<Vec<SocketAddr>>, AtomicUsize);

    #[async_trait]
    impl Resolve for Names {
        async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            let asked = self.1.fetch_add(1, Ordering::Relaxed);
            Ok(self.0[asked.min(self.0.len() - 1)].clone())
        }
    }

    fn config(allow_private: bool) -> WebhooksConfig {
        WebhooksConfig {
            allow_private,
            ssl_root_cert: None,
            timeout: Duration::from_mins(1),
            concurrency: 4,
            max_attempts: 3,
            disable_after: Duration::from_mins(1),
        }
    }

    fn sender(allow_private: bool, names: &[&[SocketAddr]]) -> HttpWebhookSender {
        let names = names.iter().map(|addresses| addresses.to_vec()).collect();
        let resolver = Arc::new(Names(names, AtomicUsize::new(0)));
        HttpWebhookSender::resolving(&config(allow_private), resolver).unwrap()
    }

    fn target(url: &str) -> Target {
        let secrets = vec![RandomSecrets.secret().unwrap()];
        Target { url: url.into(), secrets, read_at: at(0) }
    }

    fn message() -> Message {
        Message { id: "evt_1".to_owned(), at: at(1_700_000_000), body: Bytes::from_static(b"{}") }
    }

    /// A server that counts its connections and gives each request this answer, over and over until the client goes if it is
    /// endless.
    async fn server(answer: &'static [u8], is_endless: bool) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&connections);
        TaskTracker::new().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                TaskTracker::new().spawn(async move {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                        while is_endless && stream.write_all(&[b'x'; 8192]).await.is_ok() {}
                    }
                });
            }
        });
        (address, connections)
    }

    async fn sent(sender: &HttpWebhookSender, url: &str) -> Result<EndpointAnswer, String> {
        sender.send(&target(url), &message()).await.map_err(|NoAnswer(why)| why)
    }

    #[tokio::test]
    async fn a_private_address_is_not_connected_to_by_address_or_by_name() {
        let (address, connections) =
            server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false).await;
        let guarded = sender(false, &[&[address]]);

        let literal = sent(&guarded, &format!("https://{address}/")).await.unwrap_err();
        let by_name = sent(&guarded, "https://shop.example/").await.unwrap_err();
        let without_tls = sent(&guarded, &format!("http://{address}/")).await.unwrap_err();

        for refused in [literal, by_name] {
            assert!(refused.contains("127.0.0.1 is a loopback address"), "{refused}");
        }
        assert!(without_tls.contains("https"), "{without_tls}");
        assert_eq!(connections.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_the_second_time_is_refused_then() {
        let (address, connections) =
            server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false).await;
        // No connection is made to it: the addresses alone are asked for.
        let public: SocketAddr = "1.1.1.1:443".parse().unwrap();
        let connector = GuardedConnector {
            resolver: Arc::new(Names(
                vec![vec![public], vec![address], vec![public, address]],
                AtomicUsize::new(0),
            )),
            tls: tls(None).unwrap(),
            allow_private: false,
            connect_timeout: Duration::from_secs(1),
        };

        let first = connector.addresses("shop.example", 443).await;
        let second = connector.addresses("shop.example", 443).await;
        let one_of_several = connector.addresses("shop.example", 443).await;

        assert_eq!(first.unwrap(), [public]);
        for refused in [second, one_of_several] {
            assert!(refused.unwrap_err().to_string().contains("shop.example is not allowed"));
        }
        assert_eq!(connections.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_connection_serves_many_events() {
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello";
        let (address, connections) = server(answer, false).await;
        let sender = sender(true, &[&[address]]);

        for _ in 0..5 {
            let answer = sent(&sender, "http://shop.example/").await.unwrap();
            assert_eq!((answer.status, answer.beginning.as_str()), (201, "hello"));
        }

        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_endless_body_is_cut_and_a_redirect_is_not_followed() {
        let (endless, _) =
            server(b"HTTP/1.1 200 OK\r\ncontent-length: 3000000000\r\n\r\n", true).await;
        let redirect =
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let (redirect, _) = server(redirect, false).await;

        let cut = sent(&sender(true, &[&[endless]]), "http://shop.example/").await.unwrap();
        let redirected = sent(&sender(true, &[&[redirect]]), "http://shop.example/").await.unwrap();

        assert_eq!((cut.status, cut.beginning.len()), (200, MAX_BODY_BYTES));
        assert_eq!(redirected.status, 302);
    }

    #[tokio::test]
    async fn an_endless_head_and_no_answer_at_all_are_failures_within_the_timeout() {
        let (endless, _) = server(b"HTTP/1.1 200 OK\r\nx: ", true).await;
        let (silent, _) = server(b"", false).await;
        let quick = WebhooksConfig { timeout: Duration::from_millis(300), ..config(true) };
        let quick = HttpWebhookSender::new(&quick).unwrap();

        let head = sent(&quick, &format!("http://{endless}/")).await.unwrap_err();
        let none = sent(&quick, &format!("http://{silent}/")).await.unwrap_err();

        assert!(head.contains("exchange failed") || head.contains("no answer"), "{head}");
        assert!(none.contains("300ms") && none.contains("webhooks.timeout"), "{none}");
    }

    #[tokio::test]
    async fn a_server_without_tls_and_one_that_is_not_there_are_named() {
        let (plain, _) = server(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await;
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let sender = sender(true, &[&[]]);

        let tls = sent(&sender, &format!("https://{plain}/")).await.unwrap_err();
        let refused = sent(&sender, &format!("http://{closed}/")).await.unwrap_err();
        let unknown = sent(&sender, "http://shop.example/").await.unwrap_err();

        assert!(tls.starts_with("TLS failed: "), "{tls}");
        assert!(refused.contains(&format!("cannot connect to {closed}: ")), "{refused}");
        assert_eq!(unknown, "shop.example has no address");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-20T16:00:00Z").unwrap().to_utc();
        let parsed = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now)
                .map(|after| after.as_secs())
        };

        assert_eq!(parsed("120"), Some(120));
        assert_eq!(parsed("Fri, 20 Nov 2026 16:01:00 GMT"), Some(60));
        assert_eq!(parsed("Fri, 20 Nov 2026 15:00:00 GMT"), Some(0));
        assert_eq!(parsed("soon"), None);
        assert_eq!(parsed("-5"), None);
    }
}
