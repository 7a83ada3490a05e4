//! The lock on an idempotency key. A request that finds it held is refused at once: it does not wait.

use std::time::Duration;

use async_trait::async_trait;

use super::connection::Redis;
use super::lock::{self, Owners};
use crate::application::ports::{IdempotencyLease, IdempotencyLock, PortError};
use crate::domain::ids::{BuyerId, IdempotencyKey};

const WHAT: &str = "the lock on an idempotency key";

/// Keeps two requests with the same key from running at the same time.
pub(crate) struct RedisIdempotencyLock {
    redis: Redis,
    ttl: Duration,
    owners: Owners,
}

impl RedisIdempotencyLock {
    /// A lock expires after `ttl`.
    pub(crate) fn new(redis: Redis, ttl: Duration) -> Self {
        Self { redis, ttl, owners: Owners::new() }
    }
}

#[async_trait]
impl IdempotencyLock for RedisIdempotencyLock {
    async fn acquire(
        &self,
        buyer: &BuyerId,
        key: &IdempotencyKey,
    ) -> Result<Option<IdempotencyLease>, PortError> {
        if !self.redis.is_up() {
            return Err(Redis::unavailable(WHAT));
        }
        let lease =
            IdempotencyLease { buyer: buyer.clone(), key: key.clone(), owner: self.owners.next() };
        let redis_key = self.redis.keys().idempotency_lock(buyer, key);
        match lock::acquire(&self.redis, WHAT, self.ttl, [(redis_key, lease.owner.as_str())]).await
        {
            Ok(acquired) => Ok((acquired == [true]).then_some(lease)),
            Err(error) => {
                // Redis may have taken the lock although its reply was lost.
                self.release(lease).await;
                Err(error)
            }
        }
    }

    async fn release(&self, lease: IdempotencyLease) {
        let redis_key = self.redis.keys().idempotency_lock(&lease.buyer, &lease.key);
        let released = lock::release(&self.redis, WHAT, [(redis_key, lease.owner.as_str())]).await;
        if let Err(error) = released {
            tracing::debug!(%error, "a lock was not released and has to expire");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::buyer;
    use crate::testing::contracts::idempotency_lock::idempotency_lock_contract;
    use crate::testing::servers::RedisWorld;

    idempotency_lock_contract!(RedisWorld::open());

    #[tokio::test]
    async fn while_redis_is_away_a_lock_is_an_error() {
        let lock = RedisWorld::unreachable().idempotency_lock(Duration::from_secs(1));
        let key = IdempotencyKey::parse("k").unwrap();

        assert!(lock.acquire(&buyer("ann"), &key).await.is_err());
    }
}
