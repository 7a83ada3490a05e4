//! Batching: callers hand in one request each, a writer serves all that wait at once.
//!
//! An idle service answers a single request immediately, a busy one fills its batches by itself, because requests gather
//! while the batch before them is running. Only where the work says so they gather for a moment more. The only kit that
//! adapters share; it knows no technology.

mod lanes;
mod metrics;
mod room;

use std::time::Duration;

use async_trait::async_trait;

pub(crate) use lanes::Batcher;
pub(crate) use metrics::BatchMetrics;

/// Bounds of a batcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    /// Requests in one batch.
    pub(crate) size: usize,
    /// Batches at a time, for each key.
    pub(crate) writers: usize,
    /// Requests that wait, for each key.
    pub(crate) queue: usize,
    /// Longest wait; a request whose time is up is not executed.
    pub(crate) queue_timeout: Duration,
    /// A request that would wait longer, going by the batches before it, is refused at once.
    pub(crate) wait_limit: Duration,
}

/// Serves batches.
#[async_trait]
pub(crate) trait BatchWork: Send + Sync + 'static {
    /// Requests of one batch share it; different keys never wait for each other.
    type Key: Copy + Eq + std::hash::Hash + Send + Sync + 'static;
    /// What a caller hands in.
    type Request: Send + Sync + 'static;
    /// What a caller gets back.
    type Reply: Send + 'static;

    /// What a writer keeps at hand from batch to batch while there is work, such as a connection.
    type Desk: Default + Send + 'static;

    /// How long requests gather after a batch, while fewer wait than the next one holds. What comes to a writer that had
    /// nothing to do is never made to wait.
    fn gathers_for(&self) -> Duration {
        Duration::ZERO
    }

    /// Serves the requests, in order; MUST answer with one reply for each.
    async fn serve(
        &self,
        desk: &mut Self::Desk,
        key: Self::Key,
        requests: Vec<Self::Request>,
    ) -> Vec<Self::Reply>;
}

/// The request was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotServed {
    /// Too many wait already: the queue is full, or would not be served in time.
    #[error("the queue is full")]
    Full,
    /// It waited too long.
    #[error("the time was up before the request was begun")]
    TimeUp,
    /// The service ends, or the writer died.
    #[error("the queue is closed")]
    Closed,
}
