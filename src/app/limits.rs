//! Bounds that several parts share.

use std::time::Duration;

use crate::config::BatchConfig;
use crate::infrastructure::batching::BatchLimits;

/// Connections to PostgreSQL are closed within this time, or left to the operating system.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The bounds of a queue with this batch size and number of writers per lane.
pub(crate) fn limits(batch: &BatchConfig, size: usize, writers: usize) -> BatchLimits {
    BatchLimits {
        size,
        writers,
        queue: batch.queue_size,
        queue_timeout: batch.queue_timeout,
        wait_limit: batch.wait_limit,
    }
}
