//! The work that a batcher does.

use std::time::Duration;

use async_trait::async_trait;

/// Serves batches.
#[async_trait]
pub(crate) trait BatchWork: Send + Sync + 'static {
    /// The requests of one batch share it; requests with different keys never wait for each other.
    type Key: Copy + Eq + std::hash::Hash + Send + Sync + 'static;
    /// What a caller submits.
    type Request: Send + Sync + 'static;
    /// What a caller gets back.
    type Reply: Send + 'static;

    /// What a writer keeps from batch to batch while there is work, such as a connection.
    type WriterState: Default + Send + 'static;

    /// How long requests gather after a batch, while fewer wait than a batch holds. A request that finds its writer idle
    /// never waits for this time.
    fn gather_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// Serves the requests in order; MUST return one reply for each.
    async fn serve(
        &self,
        state: &mut Self::WriterState,
        key: Self::Key,
        requests: Vec<Self::Request>,
    ) -> Vec<Self::Reply>;
}
