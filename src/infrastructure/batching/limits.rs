//! Bounds of a batcher, and why it rejects a request.

use std::time::Duration;

/// Bounds of a batcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    /// Maximum number of requests in one batch.
    pub(crate) size: usize,
    /// Batches that run at the same time, for each key.
    pub(crate) writers: usize,
    /// Maximum number of waiting requests, for each key.
    pub(crate) queue: usize,
    /// Longest wait; a request that waited longer is not executed.
    pub(crate) queue_timeout: Duration,
    /// A request that would wait longer, in its queue or for what the lanes share, is rejected at once, judging by the
    /// previous batches.
    pub(crate) wait_limit: Duration,
}

/// The request was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// Too many requests wait: the queue is full, or would not be served in time.
    #[error("the queue is full")]
    Full,
    /// It waited too long.
    #[error("the request waited longer than the queue timeout")]
    TimeUp,
    /// The service shuts down, or the writer died.
    #[error("the queue is closed")]
    Closed,
}
