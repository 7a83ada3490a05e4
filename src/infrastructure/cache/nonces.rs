//! Nonces of signed requests: in Redis, which all instances share, and in memory, for the time while Redis is away.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lru::LruCache;
use redis::{ExistenceCheck, SetExpiry, SetOptions};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::connection::Redis;
use crate::application::ports::{NonceStore, PortError};

const WHAT: &str = "the nonces of signed requests";
/// Bytes of a nonce's hash: enough that no two of them collide.
const HASH_BYTES: usize = 16;
/// Maximum number of nonces in memory.
const NONCES: NonZeroUsize = NonZeroUsize::new(200_000).unwrap();

/// The hash of a key's nonce.
type NonceHash = [u8; HASH_BYTES];

/// Remembers nonces.
pub(crate) struct RedisNonces {
    redis: Redis,
    /// How long a nonce is remembered: as long as a signature with it may be accepted.
    keep: Duration,
    /// When each nonce was used here, the latest last.
    used: Mutex<LruCache<NonceHash, Instant>>,
}

/// What this instance knows of a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    New,
    Used,
    /// It is new, and an older one was forgotten for it.
    Full,
}

impl RedisNonces {
    /// Nonces are remembered for `keep`.
    pub(crate) fn new(redis: Redis, keep: Duration) -> Self {
        Self { redis, keep, used: Mutex::new(LruCache::new(NONCES)) }
    }

    /// Remembers the nonce in memory.
    fn remember(&self, hash: NonceHash) -> Known {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if used.peek(&hash).is_some_and(|at| now.duration_since(*at) < self.keep) {
            return Known::Used;
        }
        match used.push(hash, now) {
            Some((other, at)) if other != hash && now.duration_since(at) < self.keep => Known::Full,
            _ => Known::New,
        }
    }
}

#[async_trait]
impl NonceStore for RedisNonces {
    async fn is_first_use(&self, key: &str, nonce: &str) -> Result<bool, PortError> {
        let mut hash = Sha256::new();
        hash.update(key);
        // Separates the two: no id of a key contains a zero byte.
        hash.update([0]);
        hash.update(nonce);
        let mut short = NonceHash::default();
        short.copy_from_slice(&hash.finalize()[..HASH_BYTES]);
        let known = self.remember(short);
        if known == Known::Used {
            return Ok(false);
        }
        let keep = u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX);
        let options = SetOptions::default()
            .conditional_set(ExistenceCheck::NX)
            .with_expiration(SetExpiry::PX(keep));
        let mut manager = self.redis.manager();
        let mut set = redis::cmd("SET");
        set.arg(self.redis.keys().nonce(&short)).arg("").arg(options);
        match self.redis.call(WHAT, set.query_async::<Option<String>>(&mut manager)).await {
            Ok(stored) => Ok(stored.is_some()),
            // Without Redis, memory must have them all.
            Err(error) if known == Known::Full => Err(error),
            Err(error) => {
                tracing::debug!(%error, "nonces are remembered by this instance alone");
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::RedisWorld;

    const KEEP: Duration = Duration::from_mins(10);

    #[tokio::test]
    async fn a_nonce_is_used_once_by_each_key_on_all_instances() {
        let world = RedisWorld::open();
        let [one, two] = [(), ()].map(|()| RedisNonces::new(world.connect().0, KEEP));

        assert!(one.is_first_use("key_a", "n1").await.unwrap());
        assert!(!one.is_first_use("key_a", "n1").await.unwrap());
        assert!(!two.is_first_use("key_a", "n1").await.unwrap());
        assert!(two.is_first_use("key_a", "n2").await.unwrap());
        assert!(two.is_first_use("key_b", "n1").await.unwrap());
    }

    #[tokio::test]
    async fn while_redis_is_away_memory_knows_nonces_also_from_before() {
        let world = RedisWorld::unreachable();
        let nonces = RedisNonces::new(world.connect().0, KEEP);

        assert!(nonces.is_first_use("key_a", "n1").await.unwrap());
        assert!(!nonces.is_first_use("key_a", "n1").await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn while_redis_is_away_and_memory_is_full_nothing_is_accepted() {
        let nonces = RedisNonces::new(RedisWorld::unreachable().connect().0, KEEP);
        for number in 0..NONCES.get() {
            let mut hash = NonceHash::default();
            hash[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(nonces.remember(hash), Known::New);
        }

        assert!(nonces.is_first_use("key_a", "n1").await.is_err());
        tokio::time::advance(KEEP).await;
        assert!(nonces.is_first_use("key_a", "n2").await.unwrap());
    }
}
