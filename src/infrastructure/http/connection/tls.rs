//! TLS by rustls. The certificate can be reloaded while the service runs: new connections get the new one, open connections keep
//! theirs.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;

/// Protocols that are offered to clients (RFC 7301), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// The protocol id of HTTP/2.
pub(crate) const HTTP2: &[u8] = b"h2";

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidTls {
    /// A file cannot be read, or does not contain PEM.
    #[error("{file}: {source}")]
    File {
        /// The path of the file.
        file: String,
        /// The cause.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate and the key do not match, or are not valid.
    #[error("{certificate} and {key}: {source}")]
    Pair {
        /// The path of the certificate.
        certificate: String,
        /// The path of the key.
        key: String,
        /// The cause.
        source: rustls::Error,
    },
    /// The cryptography provider supports no protocol version.
    #[error("cannot set up TLS: {0}")]
    Protocol(#[source] rustls::Error),
}

/// Encrypts connections with the certificate that was loaded last.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

/// The certificate that new connections get.
struct Certificate {
    config: TlsConfig,
    current: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("file", &self.config.certificate)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Loads the certificate and the key.
    pub(crate) fn load(config: &TlsConfig) -> Result<Self, InvalidTls> {
        let current = RwLock::new(load(config)?);
        let certificate = Arc::new(Certificate { config: config.clone(), current });
        let provider = Arc::new(ring::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(InvalidTls::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Certificate>::clone(&certificate));
        server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(server)), certificate })
    }

    /// Loads the files again. If they cannot be used, the current certificate stays.
    pub(crate) fn reload(&self) -> Result<(), InvalidTls> {
        let loaded = load(&self.certificate.config)?;
        let mut current = self.certificate.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.cert != loaded.cert {
            tracing::info!(file = ?self.certificate.config.certificate, "certificate replaced");
            *current = loaded;
        }
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn load(config: &TlsConfig) -> Result<Arc<CertifiedKey>, InvalidTls> {
    let file_error = |path: &Path| {
        let file = path.display().to_string();
        move |source| InvalidTls::File { file, source }
    };
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(file_error(&config.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(file_error(&config.key))?;
    let pair_error = |source| InvalidTls::Pair {
        certificate: config.certificate.display().to_string(),
        key: config.key.display().to_string(),
        source,
    };
    if chain.is_empty() {
        return Err(pair_error(rustls::Error::NoCertificatesPresented));
    }
    let provider = ring::default_provider();
    let pair = CertifiedKey::from_der(chain, key, &provider).map_err(pair_error)?;
    Ok(Arc::new(pair))
}
