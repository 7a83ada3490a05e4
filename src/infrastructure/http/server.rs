//! Connections: accepted within bounds, served, closed in an orderly way.
//!
//! Not `axum::serve`, which sets neither `TCP_NODELAY` nor a time for the head nor a bound on connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that the system holds until they are accepted; a rush makes thousands in a moment, and whoever does not fit
/// tries again only after a second. The system's own bound (`net.core.somaxconn`) may be lower.
const BACKLOG: u32 = 4_096;
/// Pause after an accept that failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerLimits {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Time for a head to be complete, and for a connection to be idle.
    pub(crate) header_read_timeout: Duration,
    /// Bytes of a head.
    pub(crate) head_bytes: usize,
    /// Time in which a client must take some of its answer.
    pub(crate) write_timeout: Duration,
    /// Time for open connections to end after the stop.
    pub(crate) close_timeout: Duration,
}

/// A bound listener.
pub(crate) struct Server {
    listener: TcpListener,
    limits: ServerLimits,
}

impl Server {
    /// Binds; port 0 takes a free one. `name` is for the log.
    pub(crate) async fn bind(
        name: &str,
        (host, port): (&str, u16),
        limits: ServerLimits,
    ) -> io::Result<Self> {
        let listener = listen(host, port).await?;
        let address: SocketAddr = listener.local_addr()?;
        tracing::info!(server = name, %address, "listening");
        Ok(Self { listener, limits })
    }

    /// Serves with `answer` until `stop`; then accepts no more, finishes what was begun and comes back.
    pub(crate) async fn serve<F, R>(self, answer: F, stop: CancellationToken)
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
        R: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read_timeout)
            .max_buf_size(self.limits.head_bytes);
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let connections = TaskTracker::new();
        while let Some((stream, permit)) = self.accept(&permits, &stop).await {
            let service = service_fn(answer.clone());
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(self.limits.write_timeout));
            let stream = TokioIo::new(Box::pin(stream));
            let connection = builder.serve_connection(stream, service);
            let connection = graceful.watch(connection);
            connections.spawn(async move {
                // A connection that breaks is the client's affair: nothing to tell.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(self.listener);
        connections.close();
        // Whoever does not read its answer by then does not want it.
        let _ = tokio::time::timeout(self.limits.close_timeout, graceful.shutdown()).await;
    }

    /// The next connection, once there is room for it; `None` after the stop.
    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let permit = tokio::select! {
            () = stop.cancelled() => return None,
            permit = Arc::clone(permits).acquire_owned() => permit.ok()?,
        };
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return None,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Answers are small and complete: waiting to fill a packet only delays them.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The first of the host's addresses that can be bound.
async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait until connections of the run before are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
