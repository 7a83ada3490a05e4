//! The time for a head on HTTP/1, apart from the time that a connection may be idle.
//!
//! hyper has one timer for both: it runs from the end of a response until the next head is complete. It is set to the idle time, and
//! this stream ends a connection whose head, once begun, is not complete in the shorter time for heads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Counts the starts and ends of a connection's requests: it is odd while one runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<AtomicU64>);

/// A request that runs until this is dropped.
#[derive(Debug)]
pub(super) struct RunningRequest(Requests);

impl Requests {
    pub(super) fn start(&self) -> RunningRequest {
        self.0.fetch_add(1, Ordering::Relaxed);
        RunningRequest(self.clone())
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream whose reads fail when a head takes too long.
pub(super) struct HeadTimeout<S> {
    stream: S,
    requests: Requests,
    timeout: Duration,
    /// The count of requests when the current head began; `None` while no head has begun.
    head: Option<u64>,
    /// Runs while the rest of a head is awaited. Most heads arrive in one piece and need none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> HeadTimeout<S> {
    pub(super) fn new(stream: S, requests: Requests, timeout: Duration) -> Self {
        Self { stream, requests, timeout, head: None, timer: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let count = this.requests.0.load(Ordering::Relaxed);
        if this.head.is_some_and(|began| began != count) {
            (this.head, this.timer) = (None, None);
        }
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            let is_running = count % 2 == 1;
            if buffer.filled().len() > before && !is_running && this.head.is_none() {
                this.head = Some(count);
            }
            return Poll::Ready(result);
        }
        if this.head.is_none() {
            return Poll::Pending;
        }
        let timeout = this.timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the head is not complete in time",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
