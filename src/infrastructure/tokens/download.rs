//! Downloads a key set: one request on a connection of its own, bounded in size and time. A redirect is not followed, because
//! the URL is what the operator trusts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::header::{ACCEPT, HOST, USER_AGENT};
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Position, Url};

use super::keys::UnreadableKeys;
use super::sources::{KeySource, MAX_KEY_SET_BYTES};

/// Maximum time of a download.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of the response's head, in bytes.
const MAX_HEAD_BYTES: usize = 16_384;
const AGENT: &str = concat!("flash-sale/", env!("CARGO_PKG_VERSION"));

/// Keys cannot be downloaded from the configured URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidKeyUrl {
    /// The file of certificate authorities.
    #[error("auth.jwt.ssl_root_cert: {0}: {1}")]
    Roots(String, String),
    /// The cryptography provider supports no protocol version.
    #[error("cannot set up TLS for auth.jwt.jwks_url: {0}")]
    Tls(#[source] rustls::Error),
}

/// A URL.
pub(super) struct KeyUrl {
    url: Url,
    host: String,
    port: u16,
    /// `None` for `http://`.
    tls: Option<TlsConnector>,
}

impl KeyUrl {
    /// The configuration has checked that it is `http://` or `https://`, with a host.
    pub(super) fn new(url: &Url, roots: Option<&Path>) -> Result<Self, InvalidKeyUrl> {
        let host = url.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_tls = url.scheme() == "https";
        Ok(Self {
            host: host.to_owned(),
            port: url.port_or_known_default().unwrap_or(443),
            tls: if is_tls { Some(tls(roots)?) } else { None },
            url: url.clone(),
        })
    }

    async fn download(&self) -> Result<Vec<u8>, UnreadableKeys> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        let Some(tls) = &self.tls else {
            return self.request(stream).await;
        };
        let name = ServerName::try_from(self.host.clone()).map_err(failed)?;
        self.request(tls.connect(name, stream).await.map_err(failed)?).await
    }

    async fn request(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Vec<u8>, UnreadableKeys> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let request = Request::get(&self.url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &self.url[Position::BeforeHost..Position::AfterPort])
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, AGENT)
            .body(Empty::<Bytes>::new())
            .map_err(failed)?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(failed)?;
            if answer.status() != StatusCode::OK {
                return Err(UnreadableKeys::Io(format!("the status is {}", answer.status())));
            }
            let body = Limited::new(answer.into_body(), MAX_KEY_SET_BYTES).collect().await;
            match body {
                Ok(body) => Ok(body.to_bytes().to_vec()),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    Err(UnreadableKeys::TooLarge(MAX_KEY_SET_BYTES))
                }
                Err(error) => Err(failed(error)),
            }
        };
        // The connection is driven here, and dropped with the response.
        tokio::select! {
            biased;
            answer = answer => answer,
            ended = connection => Err(match ended {
                Err(error) => failed(error),
                Ok(()) => UnreadableKeys::Io("the connection was closed".to_owned()),
            }),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> UnreadableKeys {
    UnreadableKeys::Io(error.to_string())
}

#[async_trait]
impl KeySource for KeyUrl {
    async fn read(&self) -> Result<Vec<u8>, UnreadableKeys> {
        let downloaded = tokio::time::timeout(TIMEOUT, self.download()).await;
        downloaded.unwrap_or_else(|_| {
            let timeout = humantime::format_duration(TIMEOUT);
            Err(UnreadableKeys::Io(format!("no response within {timeout}")))
        })
    }

    fn is_private(&self) -> bool {
        false
    }
}

fn tls(roots: Option<&Path>) -> Result<TlsConnector, InvalidKeyUrl> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let invalid = |error: &dyn std::fmt::Display| {
                InvalidKeyUrl::Roots(path.display().to_string(), error.to_string())
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| invalid(&error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| invalid(&error))?;
                store.add(certificate).map_err(|error| invalid(&error))?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(InvalidKeyUrl::Tls)?;
    let mut config = builder.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
