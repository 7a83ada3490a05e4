//! TLS by rustls. The certificate is read again while the service runs: what connects afterwards gets the new one, what is
//! connected keeps its own.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;

/// What clients may choose from (RFC 7301), the best first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// HTTP/2, as a protocol's name.
pub(crate) const HTTP2: &[u8] = b"h2";

/// The certificate or its key is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidTls {
    /// A file cannot be read, or holds no PEM.
    #[error("{file}: {source}")]
    File {
        /// Its path.
        file: String,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// The files do not fit together.
    #[error("{certificate} and {key}: {source}")]
    Pair {
        /// The certificate's path.
        certificate: String,
        /// The key's path.
        key: String,
        /// Why not.
        source: rustls::Error,
    },
    /// Nothing can be offered to clients.
    #[error("cannot set up TLS: {0}")]
    Protocol(#[source] rustls::Error),
}

/// Encrypts connections, with the certificate that was read last.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

/// The certificate on offer.
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
    /// Reads the files.
    pub(crate) fn load(config: &TlsConfig) -> Result<Self, InvalidTls> {
        let current = RwLock::new(read(config)?);
        let certificate = Arc::new(Certificate { config: config.clone(), current });
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(InvalidTls::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Certificate>::clone(&certificate));
        server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(server)), certificate })
    }

    /// Reads the files again. What is of no use is left alone.
    pub(crate) fn reload(&self) -> Result<(), InvalidTls> {
        let read = read(&self.certificate.config)?;
        let mut current = self.certificate.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.cert != read.cert {
            tracing::info!(file = ?self.certificate.config.certificate, "certificate replaced");
            *current = read;
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

fn read(config: &TlsConfig) -> Result<Arc<CertifiedKey>, InvalidTls> {
    let of_file = |path: &Path| {
        let file = path.display().to_string();
        move |source| InvalidTls::File { file, source }
    };
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(of_file(&config.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(of_file(&config.key))?;
    let of_pair = |source| InvalidTls::Pair {
        certificate: config.certificate.display().to_string(),
        key: config.key.display().to_string(),
        source,
    };
    if chain.is_empty() {
        return Err(of_pair(rustls::Error::NoCertificatesPresented));
    }
    let provider = aws_lc_rs::default_provider();
    let pair = CertifiedKey::from_der(chain, key, &provider).map_err(of_pair)?;
    Ok(Arc::new(pair))
}
