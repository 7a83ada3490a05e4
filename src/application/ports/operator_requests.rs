//! Idempotency keys of operators' requests.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::system::PortError;
use crate::domain::ids::IdempotencyKey;

/// Bytes of the hash of a request's content.
pub const CONTENT_BYTES: usize = 32;

/// A request with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRequest {
    /// Whose key it is: two operators may use the same text.
    pub owner: String,
    /// The key.
    pub key: IdempotencyKey,
    /// The hash of everything that the request asks for.
    pub content: [u8; CONTENT_BYTES],
}

/// The answer to a request that changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// Its status, of success.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// What is known of a request that has changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRequest {
    /// The execution that changed something.
    pub execution: Uuid,
    /// Whether it asked for the same.
    pub is_same: bool,
    /// Its answer, once that is stored.
    pub answer: Option<StoredAnswer>,
    /// How long ago it changed something.
    pub age: Duration,
}

/// Lets a request with a key change something once.
#[async_trait]
pub trait OperatorRequests: Send + Sync {
    /// What is known of a key. MUST find every key whose change was committed within the retention time of keys.
    async fn find(&self, request: &OperatorRequest) -> Result<Option<KnownRequest>, PortError>;

    /// Runs `work` as this execution of the request. The first change by an operator that is committed in it MUST be committed with
    /// the key, and MUST NOT be committed if another execution has the key.
    fn execute<'w>(
        &self,
        execution: Uuid,
        request: OperatorRequest,
        work: BoxFuture<'w, ()>,
    ) -> BoxFuture<'w, ()>;

    /// Stores the answer of an execution that has the key. `false` if it has not: it has changed nothing.
    async fn answer(
        &self,
        execution: Uuid,
        request: &OperatorRequest,
        answer: &StoredAnswer,
    ) -> Result<bool, PortError>;
}
