//! The gate for idempotency keys: an owner's token, an expiry, a release that compares, as with the lock on a code. Nobody waits
//! at it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::connection::Redis;
use crate::application::ports::{KeyGate, KeyLease, PortError};
use crate::domain::ids::{BuyerId, IdempotencyKey};

const WHAT: &str = "the gate for keys";

/// Lets one request with a key through at a time.
pub(crate) struct RedisKeyGate {
    redis: Redis,
    ttl: Duration,
    /// Begins every owner of this instance.
    name: Uuid,
    entered: AtomicU64,
}

impl RedisKeyGate {
    /// Opens by itself after `ttl`.
    pub(crate) fn new(redis: Redis, ttl: Duration) -> Self {
        Self { redis, ttl, name: Uuid::now_v7(), entered: AtomicU64::new(0) }
    }
}

#[async_trait]
impl KeyGate for RedisKeyGate {
    async fn enter(
        &self,
        buyer: &BuyerId,
        key: &IdempotencyKey,
    ) -> Result<Option<KeyLease>, PortError> {
        if !self.redis.is_up() {
            return Err(PortError::Unavailable { what: WHAT, source: "redis is away".into() });
        }
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let owner = format!("{}-{number}", self.name.simple());
        let lease = KeyLease { buyer: buyer.clone(), key: key.clone(), owner };
        let mut call = self.redis.scripts().lock_acquire.prepare_invoke();
        call.key(self.redis.keys().gate(buyer, key));
        call.arg(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX)).arg(&lease.owner);
        let mut manager = self.redis.manager();
        match self.redis.call(WHAT, call.invoke_async::<Vec<i64>>(&mut manager)).await {
            Ok(taken) => Ok((taken == [1]).then_some(lease)),
            Err(error) => {
                // Redis may have let it in and only its answer got lost.
                self.leave(lease).await;
                Err(error)
            }
        }
    }

    async fn leave(&self, lease: KeyLease) {
        let mut call = self.redis.scripts().lock_release.prepare_invoke();
        call.key(self.redis.keys().gate(&lease.buyer, &lease.key)).arg(&lease.owner);
        let mut manager = self.redis.manager();
        if let Err(error) = self.redis.call(WHAT, call.invoke_async::<i64>(&mut manager)).await {
            tracing::debug!(%error, "redis was not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::buyer;
    use crate::testing::contracts::key_gate::key_gate_contract;
    use crate::testing::servers::RedisWorld;

    key_gate_contract!(RedisWorld::open());

    #[tokio::test]
    async fn while_redis_is_away_the_gate_is_an_error() {
        let gate = RedisWorld::nowhere().gate(Duration::from_secs(1));
        let key = IdempotencyKey::parse("k").unwrap();

        assert!(gate.enter(&buyer("ann"), &key).await.is_err());
    }
}
