//! The lock on a code: an owner's token, an expiry, a release that compares.

use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::{PoolError, TimeoutType};
use tokio::time::Instant;
use uuid::Uuid;

use super::connection::Redis;
use super::courier::Courier;
use crate::application::ports::{CodeLock, Lease, PortError};
use crate::domain::ids::{AttemptId, SaleId};

const WHAT: &str = "the lock on the code";
/// First and longest pause between two looks at a lock that somebody holds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Locks codes.
pub(crate) struct RedisCodeLock {
    redis: Redis,
    courier: Courier,
    ttl: Duration,
    wait: Duration,
}

impl RedisCodeLock {
    /// Locks expire after `ttl`; a caller waits `wait` at most.
    pub(crate) fn new(redis: Redis, courier: Courier, ttl: Duration, wait: Duration) -> Self {
        Self { redis, courier, ttl, wait }
    }

    async fn try_acquire(&self, key: &str, owner: &str) -> Result<bool, PortError> {
        let mut connection = self.redis.pool().get().await.map_err(|error| {
            // Waiting for one of our own connections says nothing about Redis.
            if !matches!(error, PoolError::Timeout(TimeoutType::Wait)) {
                self.redis.gone();
            }
            PortError::Unavailable { what: WHAT, source: Box::new(error) }
        })?;
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut call = self.redis.scripts().lock_acquire.prepare_invoke();
        call.key(key).arg(owner).arg(ttl);
        let taken: i64 = self.redis.call(WHAT, call.invoke_async(&mut *connection)).await?;
        Ok(taken == 1)
    }
}

#[async_trait]
impl CodeLock for RedisCodeLock {
    async fn acquire(&self, sale: SaleId, attempt: AttemptId) -> Result<Option<Lease>, PortError> {
        if !self.redis.is_up() {
            return Err(PortError::Unavailable { what: WHAT, source: "redis is away".into() });
        }
        let key = self.redis.keys().lock(sale, attempt);
        let owner = Uuid::now_v7().to_string();
        let deadline = Instant::now() + self.wait;
        let (mut pause, longest) = PAUSES;
        loop {
            match self.try_acquire(&key, &owner).await {
                Ok(true) => return Ok(Some(Lease { sale, attempt, owner })),
                Ok(false) => {}
                Err(error) => {
                    // Redis may have taken the lock and only its answer got lost.
                    self.courier.release(Lease { sale, attempt, owner });
                    return Err(error);
                }
            }
            if Instant::now() + pause > deadline {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    fn release(&self, lease: Lease) {
        self.courier.release(lease);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{attempt_id, sale_id};
    use crate::testing::contracts::code_lock::code_lock_contract;
    use crate::testing::servers::RedisWorld;

    code_lock_contract!(RedisWorld::open());

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn whoever_waits_gets_the_lock_when_it_is_given_back() {
        let world = RedisWorld::open();
        let (redis, courier) = world.connect();
        let lock = RedisCodeLock::new(redis, courier, LONG * 10, LONG);
        let held = lock.acquire(sale_id(1), attempt_id(1)).await.unwrap().unwrap();

        let (waited, ()) = tokio::join!(lock.acquire(sale_id(1), attempt_id(1)), async {
            lock.release(held);
        });

        assert!(waited.unwrap().is_some());
    }

    #[tokio::test]
    async fn while_redis_is_away_every_lock_is_an_error() {
        let (redis, courier) = RedisWorld::nowhere().connect();
        let lock = RedisCodeLock::new(redis, courier, LONG, LONG);

        for _ in 0..2 {
            assert!(lock.acquire(sale_id(1), attempt_id(1)).await.is_err());
        }
    }
}
