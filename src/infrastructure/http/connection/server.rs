//! Accepts connections up to a limit, encrypts them if there is a certificate, serves HTTP/1 or HTTP/2, and closes gracefully.
//!
//! It replaces `axum::serve`, which sets neither `TCP_NODELAY`, nor a timeout for the head, nor a limit of connections.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::head_timeout::{HeadTimeout, Requests};
use super::http2;
use super::limits::ServerLimits;
use super::tls::{HTTP2, Tls};
use crate::config::Setting;

/// Connections that the kernel queues until they are accepted. When a sale opens, thousands arrive at once; a client that finds
/// the queue full retries only after a second. The kernel's limit (`net.core.somaxconn`) can be lower.
const BACKLOG: u32 = 4_096;
/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two looks at a connection that has sent only a part of the HTTP/2 preface.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// A bound listener.
pub(crate) struct Server {
    listener: TcpListener,
    limits: Setting<ServerLimits>,
    tls: Option<Tls>,
}

/// Serves one connection.
struct ConnectionHandler<F> {
    handle: F,
    /// The other end of the connection.
    peer: IpAddr,
    limits: ServerLimits,
    /// Closes an HTTP/1 connection gracefully.
    watcher: Watcher,
    /// Tracks running connections and streams.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// Binds to a port; 0 takes a free one. `name` is for the log.
    pub(crate) async fn bind(
        name: &str,
        (host, port): (&str, u16),
        limits: Setting<ServerLimits>,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let listener = listen(host, port).await?;
        let address: SocketAddr = listener.local_addr()?;
        tracing::info!(server = name, %address, tls = tls.is_some(), "listening");
        Ok(Self { listener, limits, tls })
    }

    /// Serves requests with `handle` until `stop` is cancelled. Then it accepts no more connections, finishes the running
    /// requests, and returns.
    pub(crate) async fn serve<F, R>(self, handle: F, stop: CancellationToken)
    where
        F: Fn(Request<Incoming>, IpAddr) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        let (graceful, tasks) = (GracefulShutdown::new(), TaskTracker::new());
        let permits = Arc::new(Semaphore::new(self.limits.get().connections));
        while let Some((stream, peer, permit)) = self.accept(&permits, &stop).await {
            let handler = ConnectionHandler {
                handle: handle.clone(),
                peer,
                limits: self.limits.get(),
                watcher: graceful.watcher(),
                tasks: tasks.clone(),
                stop: stop.clone(),
            };
            let tls = self.tls.clone();
            tasks.spawn(async move {
                handler.serve(stream, tls).await;
                drop(permit);
            });
        }
        drop(self.listener);
        tasks.close();
        let closed = async { tokio::join!(graceful.shutdown(), tasks.wait()) };
        // After the timeout, responses that clients have not read are dropped.
        let _ = tokio::time::timeout(self.limits.get().close_timeout, closed).await;
    }

    /// The next connection, once fewer than the maximum are open; `None` after `stop` is cancelled.
    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
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
                Ok((stream, peer)) => {
                    // Responses are small and complete: waiting to fill a packet would only delay them.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, peer.ip(), permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl<F, R> ConnectionHandler<F>
where
    F: Fn(Request<Incoming>, IpAddr) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    /// What finds out the protocol is gone before the connection is served: an idle one has no room for it.
    async fn serve(self, stream: TcpStream, tls: Option<Tls>) {
        let served = match tls {
            None => Box::pin(self.plain(stream)).await,
            Some(tls) => Box::pin(self.encrypted(stream, tls)).await,
        };
        if let Some(served) = served {
            served.await;
        }
    }

    async fn plain(self, stream: TcpStream) -> Option<BoxFuture<'static, ()>> {
        self.first_byte(&stream).await?;
        let is_http2 = self.in_time(self.limits.header_read_timeout, is_http2(&stream)).await?;
        Some(if is_http2 { Box::pin(self.http2(stream)) } else { Box::pin(self.http1(stream)) })
    }

    async fn encrypted(self, stream: TcpStream, tls: Tls) -> Option<BoxFuture<'static, ()>> {
        self.first_byte(&stream).await?;
        let handshake = tls.acceptor().accept(stream);
        let stream = self.in_time(self.limits.header_read_timeout, handshake).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Some(if is_http2 { Box::pin(self.http2(stream)) } else { Box::pin(self.http1(stream)) })
    }

    /// Waits for the first byte, as long as a connection may be idle: load balancers keep connections ready that they have not used.
    async fn first_byte(&self, stream: &TcpStream) -> Option<()> {
        let count = self.in_time(self.limits.idle_timeout, stream.peek(&mut [0])).await?;
        (count > 0).then_some(())
    }

    /// The result of a part of the handshake, if it arrives in time and before `stop` is cancelled.
    async fn in_time<T>(
        &self,
        time: Duration,
        part: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            result = tokio::time::timeout(time, part) => result.ok()?.ok(),
            () = self.stop.cancelled() => None,
        }
    }

    /// Not `async`: such a function would have room for what only its begin needs.
    fn http1(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle_timeout)
            .max_buf_size(self.limits.head_bytes);
        let requests = Requests::default();
        let stream = HeadTimeout::new(stream, requests.clone(), self.limits.header_read_timeout);
        let stream = self.with_write_timeout(stream);
        let (handle, peer) = (self.handle, self.peer);
        let service = service_fn(move |request| {
            let running = requests.start();
            let response = handle(request, peer);
            async move {
                let response = response.await;
                drop(running);
                response
            }
        });
        // A broken connection is not an error of the service: it is not logged.
        self.watcher.watch(builder.serve_connection(stream, service)).map(drop)
    }

    async fn http2(self, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
        let stream = self.with_write_timeout(stream);
        let (handle, peer) = (self.handle, self.peer);
        let handle = move |request| handle(request, peer);
        http2::serve(stream, handle, self.limits, (self.tasks, self.stop)).await;
    }

    /// Closes the connection of a client that reads nothing of its response for too long.
    fn with_write_timeout<S: AsyncRead + AsyncWrite>(
        &self,
        stream: S,
    ) -> TokioIo<Pin<Box<TimeoutStream<S>>>> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        TokioIo::new(Box::pin(stream))
    }
}

/// Whether the first bytes are the HTTP/2 preface. Decides at the first byte that differs, so a client may send them one by one.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; http2::PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        let matches = http2::PREFACE.starts_with(&first[..count]);
        if count == 0 || !matches || count == first.len() {
            return Ok(matches && count > 0);
        }
        // Peeked bytes keep the stream readable: waiting until it is readable would return at once.
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

/// Listens on the first address of the host that can be bound.
async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted process can bind although connections of the previous one are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
