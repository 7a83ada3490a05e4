//! The lock on a checkout code. One script call acquires the locks of all purchases of a sale that wait; the cache writer
//! releases them.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Redis;
use super::lock::{self, Owners};
use super::script::KEYS_A_CALL;
use super::writer::CacheWriter;
use crate::application::ports::{CodeLock, Lease, PortError};
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::batching::{Batch, BatchLimits, BatchMetrics, BatchWork, Batcher};

const WHAT: &str = "the lock on a code";

/// Locks codes.
pub(crate) struct RedisCodeLock {
    redis: Redis,
    cache_writer: CacheWriter,
    batcher: Batcher<AcquireLocks>,
    owners: Owners,
}

impl RedisCodeLock {
    /// A lock expires after `ttl`.
    pub(crate) fn new(
        (redis, cache_writer): (Redis, CacheWriter),
        ttl: Duration,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let work = AcquireLocks { redis: redis.clone(), ttl };
        let limits = BatchLimits { size: limits.size.min(KEYS_A_CALL), ..limits };
        let batcher = Batcher::new("lock", work, limits, metrics, scope);
        Self { redis, cache_writer, batcher, owners: Owners::new() }
    }

    async fn try_acquire(&self, lease: &Lease) -> Result<bool, PortError> {
        let request = LockRequest { attempt: lease.attempt, owner: lease.owner.clone() };
        match self.batcher.submit(lease.sale, request).await {
            Ok(LockReply::Acquired) => Ok(true),
            Ok(LockReply::Held) => Ok(false),
            Ok(LockReply::Failed) => Err(Redis::unavailable(WHAT)),
            Err(reason) => Err(PortError::Unavailable { what: WHAT, source: Box::new(reason) }),
        }
    }
}

/// Acquires the locks of a batch in one call.
struct AcquireLocks {
    redis: Redis,
    ttl: Duration,
}

type LockBatch = Batch<LockRequest, LockReply>;

struct LockRequest {
    attempt: AttemptId,
    owner: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockReply {
    Acquired,
    Held,
    Failed,
}

#[async_trait]
impl BatchWork for AcquireLocks {
    type Key = SaleId;
    type Request = LockRequest;
    type Reply = LockReply;

    async fn serve(&self, sale: SaleId, batch: LockBatch) -> LockBatch {
        let locks = batch.requests().iter().map(|LockRequest { attempt, owner }| {
            (self.redis.keys().lock(sale, *attempt), owner.as_str())
        });
        match lock::acquire(&self.redis, WHAT, self.ttl, locks).await {
            Ok(acquired) => {
                let reply = |acquired| if acquired { LockReply::Acquired } else { LockReply::Held };
                batch.answer(acquired.into_iter().map(reply));
            }
            Err(error) => {
                tracing::debug!(%error, "locks were not acquired");
                batch.answer(std::iter::repeat(LockReply::Failed));
            }
        }
        Batch::empty()
    }
}

#[async_trait]
impl CodeLock for RedisCodeLock {
    async fn acquire(&self, sale: SaleId, attempt: AttemptId) -> Result<Option<Lease>, PortError> {
        if !self.redis.is_up() {
            return Err(Redis::unavailable(WHAT));
        }
        let lease = Lease { sale, attempt, owner: self.owners.next() };
        match self.try_acquire(&lease).await {
            Ok(is_acquired) => Ok(is_acquired.then_some(lease)),
            Err(error) => {
                // Redis may have taken the lock although its reply was lost.
                self.cache_writer.release(lease);
                Err(error)
            }
        }
    }

    fn release(&self, lease: Lease) {
        self.cache_writer.release(lease);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{attempt_id, sale_id};
    use crate::testing::contracts::code_lock::code_lock_contract;
    use crate::testing::servers::RedisWorld;

    code_lock_contract!(RedisWorld::open());

    /// Longer than any test.
    const LONG: Duration = Duration::from_mins(10);

    #[tokio::test]
    async fn while_redis_is_away_every_lock_is_an_error() {
        let lock = RedisWorld::unreachable().locks(LONG);

        for _ in 0..2 {
            assert!(lock.acquire(sale_id(1), attempt_id(1)).await.is_err());
        }
    }
}
