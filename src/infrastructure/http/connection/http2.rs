//! One HTTP/2 connection (RFC 9113): over TLS, or in clear text if the client sends the connection preface.
//!
//! Everything that a client could grow without bound has a limit: concurrent streams, streams that it resets before they are
//! served (the library closes such a connection: CVE-2023-44487), bytes that it does not read, and idle time.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::ServerLimits;

/// The connection preface (RFC 9113, section 3.4). No request of HTTP/1 starts with it.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Maximum number of response bytes that a stream buffers.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Flow control: bytes that a client may send on one stream before the service grants more.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// Flow control: the same for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Maximum number of streams that the client has reset and that are not served yet. Above it the connection is closed.
const MAX_RESET_STREAMS: usize = 20;

/// The requests of one connection.
#[derive(Default)]
struct Activity {
    running: AtomicUsize,
    /// Number of requests so far.
    started: AtomicU64,
}

/// Runs each stream as a tracked task, so that the shutdown can wait for it.
#[derive(Clone)]
struct TrackedExecutor(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for TrackedExecutor {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// Serves the connection until the client closes it, it is idle, or `stop` is cancelled. Finishes the running requests.
pub(crate) async fn serve<F, R>(
    stream: impl Read + Write + Send + Unpin + 'static,
    handle: F,
    limits: ServerLimits,
    (tasks, stop): (TaskTracker, CancellationToken),
) where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let activity = Arc::<Activity>::default();
    let service = service_fn({
        let activity = Arc::clone(&activity);
        move |request| {
            let (activity, handle) = (Arc::clone(&activity), handle.clone());
            // All of it in the task of the stream: a panic ends only that.
            async move {
                let running = activity.start();
                let response = handle(request).await?;
                Ok::<_, Infallible>(running.until_sent(response))
            }
        }
    });
    let connection = builder(limits, tasks).serve_connection(stream, service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A broken connection is not an error of the service: it is not logged.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = activity.idle(limits.idle_timeout) => {}
    }
    connection.as_mut().graceful_shutdown();
    // After the timeout, responses that the client has not read are dropped.
    let _ = tokio::time::timeout(limits.close_timeout, connection).await;
}

fn builder(limits: ServerLimits, tasks: TaskTracker) -> http2::Builder<TrackedExecutor> {
    let mut builder = http2::Builder::new(TrackedExecutor(tasks));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        // Detects a client that has gone without closing the connection.
        .keep_alive_interval(limits.header_read_timeout)
        .keep_alive_timeout(limits.header_read_timeout);
    builder
}

/// Counts a request as running until it is dropped.
struct Running(Arc<Activity>);

impl Running {
    /// The response, which counts as running until its end if it is a stream: events may be all that a connection carries.
    fn until_sent(self, response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| Body::new(RunningBody { body, _running: self }))
    }
}

/// A stream that counts as running.
struct RunningBody {
    body: Body,
    _running: Running,
}

impl HttpBody for RunningBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Activity {
    fn start(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.started.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// Returns when no request has started for `timeout` and none is running. It checks once per `timeout`, so it can take
    /// twice as long.
    async fn idle(&self, timeout: Duration) {
        let mut before = None;
        loop {
            let started = self.started.load(Ordering::Relaxed);
            if before == Some(started) && self.running.load(Ordering::Relaxed) == 0 {
                return;
            }
            before = Some(started);
            tokio::time::sleep(timeout).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
