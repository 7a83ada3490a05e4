//! One HTTP/2 connection (RFC 9113): over TLS, or in the clear where the client begins with the preface.
//!
//! What a client can open without end is bounded: streams at a time, streams that it resets before they are served (the
//! library ends such a connection: CVE-2023-44487), bytes that wait because it does not take them, and the time in which
//! nothing happens.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::server::ServerLimits;

/// How every connection in the clear begins that is HTTP/2 (RFC 9113, section 3.4); no request of HTTP/1 begins with it.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of answers that wait, for each stream.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes that a client may send before it is let go on: for one stream, and for all of them.
const WINDOWS: (u32, u32) = (64 << 10, 256 << 10);
/// Streams that were reset and that the client has not been served yet; with more the connection ends.
const RESET_STREAMS: usize = 20;

/// Requests of one connection.
#[derive(Default)]
struct Activity {
    running: AtomicUsize,
    begun: AtomicU64,
}

/// Runs each stream as a task that is waited for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tracked {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// Serves the connection until it ends, is idle, or `stop`; then what was begun is finished.
pub(crate) async fn serve<F, R>(
    stream: impl Read + Write + Send + Unpin + 'static,
    answer: F,
    limits: ServerLimits,
    (tasks, stop): (TaskTracker, CancellationToken),
) where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let activity = Arc::<Activity>::default();
    let counted = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let activity = Arc::clone(&counted);
        let answered = answer(request);
        async move {
            let _running = activity.begin();
            answered.await
        }
    });
    let connection = builder(limits, tasks).serve_connection(stream, service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A connection that breaks is the client's affair: nothing to tell.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = activity.ends(limits.header_read_timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Whoever does not take its answers by then does not want them.
    let _ = tokio::time::timeout(limits.close_timeout, connection).await;
}

fn builder(limits: ServerLimits, tasks: TaskTracker) -> http2::Builder<Tracked> {
    let mut builder = http2::Builder::new(Tracked(tasks));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        // A peer that is gone without a word.
        .keep_alive_interval(limits.header_read_timeout)
        .keep_alive_timeout(limits.header_read_timeout);
    builder
}

/// Counts a request as long as it lives.
struct Running(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// Comes back when nothing has happened for so long; at most for twice as long.
    async fn ends(&self, idle: Duration) {
        let mut before = None;
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            if before == Some(begun) && self.running.load(Ordering::Relaxed) == 0 {
                return;
            }
            before = Some(begun);
            tokio::time::sleep(idle).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
