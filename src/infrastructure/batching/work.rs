//! The work that a batcher does.

use std::time::Duration;

use async_trait::async_trait;

use super::batch::Batch;

/// Serves batches.
#[async_trait]
pub(crate) trait BatchWork: Send + Sync + 'static {
    /// The requests of one batch share it; requests with different keys never wait for each other in a queue.
    type Key: Copy + Eq + std::hash::Hash + Send + Sync + 'static;
    /// What a caller submits.
    type Request: Send + Sync + 'static;
    /// What a caller gets back.
    type Reply: Send + 'static;

    /// Maximum number of requests in a batch of those that were returned because they are long.
    const LONG_BATCH: usize = 1;

    /// How long requests gather after a batch, while fewer wait than a batch holds. A request that finds its writer idle
    /// never waits for this time.
    fn gather_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// How long a batch would wait now for what the lanes share, such as a connection.
    fn expected_wait(&self) -> Duration {
        Duration::ZERO
    }

    /// Releases what is kept for the next batch of any lane and was not used for a while. Called when a lane becomes idle.
    fn release_idle(&self) {}

    /// Serves the requests in order. MUST answer each, or return it: those that are too long for a batch of this size are served
    /// in batches of [`LONG_BATCH`](Self::LONG_BATCH), which MUST return none.
    async fn serve(
        &self,
        key: Self::Key,
        batch: Batch<Self::Request, Self::Reply>,
    ) -> Batch<Self::Request, Self::Reply>;
}
