//! The lock on a code: an owner's token, an expiry, a release that compares. One script call takes the locks of all
//! purchases that wait, another one gives them back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::connection::Redis;
use super::courier::Courier;
use super::scripts::KEYS_A_CALL;
use crate::application::ports::{CodeLock, Lease, PortError};
use crate::domain::ids::{AttemptId, SaleId};
use crate::infrastructure::batching::{BatchLimits, BatchMetrics, BatchWork, Batcher};

const WHAT: &str = "the lock on the code";
/// First and longest pause between two looks at a lock that somebody holds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Locks codes.
pub(crate) struct RedisCodeLock {
    redis: Redis,
    courier: Courier,
    locks: Batcher<Locks>,
    wait: Duration,
    /// Begins every owner of this instance.
    name: Uuid,
    taken: AtomicU64,
}

/// How long locks last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockTimes {
    /// A lock expires after this time.
    pub(crate) ttl: Duration,
    /// A caller waits for so long at most.
    pub(crate) wait: Duration,
}

impl RedisCodeLock {
    pub(crate) fn new(
        (redis, courier): (Redis, Courier),
        times: LockTimes,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        scope: (TaskTracker, CancellationToken),
    ) -> Self {
        let work = Locks { redis: redis.clone(), ttl: times.ttl };
        let limits = BatchLimits { size: limits.size.min(KEYS_A_CALL), ..limits };
        let locks = Batcher::new("lock", work, limits, metrics, scope);
        let (wait, name, taken) = (times.wait, Uuid::now_v7(), AtomicU64::new(0));
        Self { redis, courier, locks, wait, name, taken }
    }

    async fn try_acquire(&self, lease: &Lease) -> Result<bool, PortError> {
        let wanted = Wanted { attempt: lease.attempt, owner: lease.owner.clone() };
        match self.locks.submit(lease.sale, wanted).await {
            Ok(Taken::Yes) => Ok(true),
            Ok(Taken::No) => Ok(false),
            Ok(Taken::NotAsked) => Err(unavailable("redis did not answer")),
            Err(reason) => Err(PortError::Unavailable { what: WHAT, source: Box::new(reason) }),
        }
    }
}

fn unavailable(why: &'static str) -> PortError {
    PortError::Unavailable { what: WHAT, source: why.into() }
}

/// Takes locks, many in a call.
struct Locks {
    redis: Redis,
    ttl: Duration,
}

/// A lock that somebody wants.
struct Wanted {
    attempt: AttemptId,
    owner: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Yes,
    No,
    NotAsked,
}

#[async_trait]
impl BatchWork for Locks {
    type Key = SaleId;
    type Request = Wanted;
    type Reply = Taken;
    type Desk = ();

    async fn serve(&self, (): &mut (), sale: SaleId, wanted: Vec<Wanted>) -> Vec<Taken> {
        let mut call = self.redis.scripts().lock_acquire.prepare_invoke();
        call.arg(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX));
        for Wanted { attempt, owner } in &wanted {
            call.key(self.redis.keys().lock(sale, *attempt)).arg(owner);
        }
        let mut manager = self.redis.manager();
        let taken = self.redis.call(WHAT, call.invoke_async::<Vec<i64>>(&mut manager)).await;
        match taken {
            Ok(taken) if taken.len() == wanted.len() => {
                let by = |taken: i64| if taken == 1 { Taken::Yes } else { Taken::No };
                taken.into_iter().map(by).collect()
            }
            Ok(_) => vec![Taken::NotAsked; wanted.len()],
            Err(error) => {
                tracing::debug!(%error, "redis was not asked");
                vec![Taken::NotAsked; wanted.len()]
            }
        }
    }
}

#[async_trait]
impl CodeLock for RedisCodeLock {
    async fn acquire(&self, sale: SaleId, attempt: AttemptId) -> Result<Option<Lease>, PortError> {
        if !self.redis.is_up() {
            return Err(unavailable("redis is away"));
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let lease = Lease { sale, attempt, owner: format!("{}-{number}", self.name.simple()) };
        let deadline = Instant::now() + self.wait;
        let (mut pause, longest) = PAUSES;
        loop {
            match self.try_acquire(&lease).await {
                Ok(true) => return Ok(Some(lease)),
                Ok(false) => {}
                Err(error) => {
                    // Redis may have taken the lock and only its answer got lost.
                    self.courier.release(lease);
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
        let lock = world.locks(LockTimes { ttl: LONG * 10, wait: LONG });
        let held = lock.acquire(sale_id(1), attempt_id(1)).await.unwrap().unwrap();

        let (waited, ()) = tokio::join!(lock.acquire(sale_id(1), attempt_id(1)), async {
            lock.release(held);
        });

        assert!(waited.unwrap().is_some());
    }

    #[tokio::test]
    async fn while_redis_is_away_every_lock_is_an_error() {
        let lock = RedisWorld::nowhere().locks(LockTimes { ttl: LONG, wait: LONG });

        for _ in 0..2 {
            assert!(lock.acquire(sale_id(1), attempt_id(1)).await.is_err());
        }
    }
}
