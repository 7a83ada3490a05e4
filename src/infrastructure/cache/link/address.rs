//! From the configuration to clients: addresses, accounts, TLS.

use std::path::Path;

use deadpool_redis::BuildError;
use redis::io::tcp::TcpSettings;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;

use crate::config::{RedisConfig, RedisNode};

/// The configuration does not describe a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRedis {
    /// The URL.
    #[error("redis.url is not a Redis URL: {0}")]
    Url(String),
    /// The nodes.
    #[error("redis.nodes cannot be connected to: {0}")]
    Nodes(String),
    /// The file of `redis.ssl_root_cert`.
    #[error("redis.ssl_root_cert: {0} contains no certificate")]
    NoCertificate(String),
    /// The pool.
    #[error("the pool of Redis connections: {0}")]
    Pool(#[from] BuildError),
}

impl InvalidRedis {
    /// The driver's message may repeat the URL, which may contain a password.
    pub(super) fn url(error: &RedisError) -> Self {
        Self::Url(error.category().to_owned())
    }
}

/// Makes clients with one account and one way of TLS.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    /// The server of `redis.url`.
    base: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

impl Clients {
    pub(super) fn new(config: &RedisConfig) -> Result<Self, InvalidRedis> {
        let info = config.url.expose_secret().into_connection_info();
        let info: ConnectionInfo = info.map_err(|error| InvalidRedis::url(&error))?;
        // The library's name is of no use, and naming it needs a right of its own.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let base = info
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(settings);
        let certificates = config.ssl_root_cert.as_deref().map(trusting).transpose()?;
        Ok(Self { base, certificates })
    }

    /// The authorities that are trusted, if not the public ones.
    pub(super) fn certificates(&self) -> Option<&TlsCertificates> {
        self.certificates.as_ref()
    }

    /// A client of the server of `redis.url`.
    pub(super) fn of_url(&self) -> Result<Client, RedisError> {
        self.open(self.base.clone())
    }

    /// A client of the server at this address, with the account and the TLS of `redis.url`.
    pub(super) fn of_server(&self, host: &str, port: u16) -> Result<Client, RedisError> {
        let is_encrypted = matches!(self.base.addr(), ConnectionAddr::TcpTls { .. });
        self.open(self.base.clone().set_addr(address(host, port, is_encrypted)))
    }

    /// How a node of the cluster is connected to: an account of its own wins over that of `redis.url`.
    pub(super) fn node(&self, node: &RedisNode) -> ConnectionInfo {
        let info = self.base.clone().set_addr(address(&node.host, node.port, node.is_encrypted));
        if node.password.is_none() {
            return info;
        }
        let settings = with_account(RedisConnectionInfo::default(), node);
        info.set_redis_settings(settings)
    }

    /// A client of a node of the cluster.
    pub(super) fn of_node(&self, node: &RedisNode) -> Result<Client, RedisError> {
        self.open(self.node(node))
    }

    /// A client of a Sentinel. A Sentinel has no databases, and its accounts are not those of Redis.
    pub(super) fn of_sentinel(&self, node: &RedisNode) -> Result<Client, RedisError> {
        let info = self.base.clone().set_addr(address(&node.host, node.port, node.is_encrypted));
        self.open(info.set_redis_settings(with_account(RedisConnectionInfo::default(), node)))
    }

    fn open(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }
}

fn with_account(
    settings: redis::RedisConnectionInfo,
    node: &RedisNode,
) -> redis::RedisConnectionInfo {
    let mut settings = settings.set_skip_set_lib_name();
    if let Some(username) = &node.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &node.password {
        settings = settings.set_password(password.expose_secret());
    }
    settings
}

fn address(host: &str, port: u16, is_encrypted: bool) -> ConnectionAddr {
    let host = host.to_owned();
    if is_encrypted {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

/// Trusts the authorities of this file, and no others.
fn trusting(file: &Path) -> Result<TlsCertificates, InvalidRedis> {
    // The configuration has opened it.
    let pem = std::fs::read(file).unwrap_or_default();
    if !CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_ok()) {
        return Err(InvalidRedis::NoCertificate(file.display().to_string()));
    }
    Ok(TlsCertificates { client_tls: None, root_cert: Some(pem) })
}
