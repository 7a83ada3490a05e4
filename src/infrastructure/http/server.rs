//! Connections: accepted within bounds, encrypted where there is a certificate, served as HTTP/1 or HTTP/2, closed in an orderly
//! way.
//!
//! Not `axum::serve`, which sets neither `TCP_NODELAY` nor a time for the head nor a bound on connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
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

use super::http2;
use super::tls::{HTTP2, Tls};

/// Connections that the system holds until they are accepted; a rush makes thousands in a moment, and whoever does not fit
/// tries again only after a second. The system's own bound (`net.core.somaxconn`) may be lower.
const BACKLOG: u32 = 4_096;
/// Pause after an accept that failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Pause before one more look at a connection that has begun like HTTP/2, but not whole.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerLimits {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Time for a head to be complete, and for a connection to be idle.
    pub(crate) header_read_timeout: Duration,
    /// Bytes of a head.
    pub(crate) head_bytes: usize,
    /// Requests at a time on one connection of HTTP/2.
    pub(crate) streams: u32,
    /// Time in which a client must take some of its answer.
    pub(crate) write_timeout: Duration,
    /// Time for open connections to end after the stop.
    pub(crate) close_timeout: Duration,
}

/// A bound listener.
pub(crate) struct Server {
    listener: TcpListener,
    limits: ServerLimits,
    tls: Option<Tls>,
}

/// Serves one connection of a listener.
struct Host<F> {
    answer: F,
    limits: ServerLimits,
    /// Ends a connection of HTTP/1 in order.
    watcher: Watcher,
    /// Connections and streams that run.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// Binds; port 0 takes a free one. `name` is for the log.
    pub(crate) async fn bind(
        name: &str,
        (host, port): (&str, u16),
        limits: ServerLimits,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let listener = listen(host, port).await?;
        let address: SocketAddr = listener.local_addr()?;
        tracing::info!(server = name, %address, tls = tls.is_some(), "listening");
        Ok(Self { listener, limits, tls })
    }

    /// Serves with `answer` until `stop`; then accepts no more, finishes what was begun and comes back.
    pub(crate) async fn serve<F, R>(self, answer: F, stop: CancellationToken)
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        let (graceful, tasks) = (GracefulShutdown::new(), TaskTracker::new());
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        while let Some((stream, permit)) = self.accept(&permits, &stop).await {
            let host = Host {
                answer: answer.clone(),
                limits: self.limits,
                watcher: graceful.watcher(),
                tasks: tasks.clone(),
                stop: stop.clone(),
            };
            let tls = self.tls.clone();
            tasks.spawn(async move {
                host.connection(stream, tls).await;
                drop(permit);
            });
        }
        drop(self.listener);
        tasks.close();
        let end = async { tokio::join!(graceful.shutdown(), tasks.wait()) };
        // Whoever does not read its answer by then does not want it.
        let _ = tokio::time::timeout(self.limits.close_timeout, end).await;
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

impl<F, R> Host<F>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    async fn connection(self, stream: TcpStream, tls: Option<Tls>) {
        match tls {
            None => match self.begun(begins_as_http2(&stream)).await {
                Some(true) => self.http2(stream).await,
                Some(false) => self.http1(stream).await,
                None => {}
            },
            Some(tls) => match self.begun(tls.acceptor().accept(stream)).await {
                Some(stream) if stream.get_ref().1.alpn_protocol() == Some(HTTP2) => {
                    self.http2(stream).await;
                }
                Some(stream) => self.http1(stream).await,
                None => {}
            },
        }
    }

    /// What a connection begins with, which must come in time and before the stop.
    async fn begun<T>(&self, first: impl Future<Output = io::Result<T>>) -> Option<T> {
        let first = tokio::time::timeout(self.limits.header_read_timeout, first);
        tokio::select! {
            biased;
            came = first => came.ok()?.ok(),
            () = self.stop.cancelled() => None,
        }
    }

    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read_timeout)
            .max_buf_size(self.limits.head_bytes);
        let connection = builder.serve_connection(self.timed(stream), service_fn(self.answer));
        // A connection that breaks is the client's affair: nothing to tell.
        let _ = self.watcher.watch(connection).await;
    }

    async fn http2(self, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
        let stream = self.timed(stream);
        http2::serve(stream, self.answer, self.limits, (self.tasks, self.stop)).await;
    }

    /// Whoever takes nothing of its answer for too long is hung up on.
    fn timed<S: AsyncRead + AsyncWrite>(&self, stream: S) -> TokioIo<Pin<Box<TimeoutStream<S>>>> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        TokioIo::new(Box::pin(stream))
    }
}

/// Whether the first bytes are those of HTTP/2. Somebody who sends them one by one is taken at the first that tells.
async fn begins_as_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; http2::PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        let begins = http2::PREFACE.starts_with(&first[..count]);
        if count == 0 || !begins || count == first.len() {
            return Ok(begins && count > 0);
        }
        // What was seen stays readable, so waiting for that would not wait.
        tokio::time::sleep(PREFACE_PAUSE).await;
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
