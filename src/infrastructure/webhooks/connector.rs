//! Connects to endpoints, and only to addresses that may be connected to.
//!
//! The check is made here and not when an endpoint is added, on the addresses that are connected to: a name may resolve to
//! another address each time it is asked for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Uri;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service;

use super::endpoint::refusal;
use super::guard::not_public;

/// Addresses of a name that are tried, one after the other.
const MAX_ADDRESSES: usize = 8;

/// Finds the addresses of names.
#[async_trait]
pub(crate) trait Resolve: Send + Sync {
    /// The addresses that a name has now.
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the system.
pub(crate) struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }
}

/// Why there is no connection, in words for an operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotConnected(String);

/// Connects to addresses that may be connected to.
#[derive(Clone)]
pub(crate) struct GuardedConnector {
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) tls: TlsConnector,
    /// Whether every address may be connected to, also without TLS.
    pub(crate) allow_private: bool,
    /// Longest time until one address accepts.
    pub(crate) connect_timeout: Duration,
}

impl GuardedConnector {
    async fn connect(&self, uri: &Uri) -> Result<TokioIo<Stream>, NotConnected> {
        let is_tls = uri.scheme_str() == Some("https");
        if !is_tls && !self.allow_private {
            return Err(NotConnected("the URL is not https://".to_owned()));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = self.connect_to_first(&self.addresses(host, port).await?).await?;
        if !is_tls {
            return Ok(TokioIo::new(Stream(Box::pin(stream))));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            NotConnected(format!("{host} is not a name that a certificate can have"))
        })?;
        let secured = self.tls.connect(name, stream).await;
        let secured = secured.map_err(|error| NotConnected(format!("TLS failed: {error}")))?;
        Ok(TokioIo::new(Stream(Box::pin(secured))))
    }

    /// The addresses of a host, all of which may be connected to: one that may not makes the others suspect.
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, NotConnected> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self
                .resolver
                .resolve(host, port)
                .await
                .map_err(|error| NotConnected(format!("{host} has no address: {error}")))?,
        };
        if addresses.is_empty() {
            return Err(NotConnected(format!("{host} has no address")));
        }
        for address in &addresses {
            if let Some(what) = not_public(address.ip())
                && !self.allow_private
            {
                let refused = refusal(address.ip(), what);
                return Err(NotConnected(format!("{host} is not allowed: {refused}")));
            }
        }
        Ok(addresses)
    }

    async fn connect_to_first(&self, addresses: &[SocketAddr]) -> Result<TcpStream, NotConnected> {
        let mut last = String::new();
        for address in addresses.iter().take(MAX_ADDRESSES) {
            let connecting = TcpStream::connect(address);
            match tokio::time::timeout(self.connect_timeout, connecting).await {
                Ok(Ok(stream)) => {
                    // An event is one small write, which must not wait for the next.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = format!("cannot connect to {address}: {error}"),
                Err(_) => last = format!("cannot connect to {address}: it does not answer"),
            }
        }
        Err(NotConnected(last))
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<Stream>;
    type Error = NotConnected;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        async move { connector.connect(&uri).await }.boxed()
    }
}

/// What a connection can do.
trait Io: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// A connection, with or without TLS.
pub(crate) struct Stream(Pin<Box<dyn Io>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().0.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.as_mut().poll_shutdown(cx)
    }
}
