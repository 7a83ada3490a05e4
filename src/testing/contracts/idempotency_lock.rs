//! What every [`IdempotencyLock`] guarantees.

use std::sync::Arc;
use std::time::Duration;

use super::eventually::eventually;
use crate::application::ports::{IdempotencyLease, IdempotencyLock};
use crate::domain::ids::IdempotencyKey;
use crate::testing::builders::{at, buyer};
use crate::testing::fakes::{FakeClock, FakeIdempotencyLocks};

macro_rules! idempotency_lock_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { idempotency_lock in $world =>
            a_key_has_one_holder
            keys_and_buyers_do_not_lock_each_other
            a_released_lock_can_be_acquired
            a_lock_whose_holder_died_expires
            a_late_release_leaves_the_lock_of_the_next_holder_alone
        }
    };
}
pub(crate) use idempotency_lock_contract;

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
/// Expires soon.
const SHORT: Duration = Duration::from_millis(50);

/// Locks that any number of instances share.
pub(crate) trait IdempotencyLockWorld: Send + Sync {
    /// One more instance, whose locks expire after `ttl`.
    fn instance(&self, ttl: Duration) -> Arc<dyn IdempotencyLock>;

    /// Advances a fake clock; real time passes by itself.
    fn advance(&self, time: Duration);
}

async fn acquire(
    lock: &Arc<dyn IdempotencyLock>,
    who: &str,
    key: &str,
) -> Option<IdempotencyLease> {
    lock.acquire(&buyer(who), &IdempotencyKey::parse(key).unwrap()).await.unwrap()
}

pub(crate) async fn a_key_has_one_holder(world: &dyn IdempotencyLockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    acquire(&here, "ann", "k").await.unwrap();

    assert_eq!((acquire(&here, "ann", "k").await, acquire(&there, "ann", "k").await), (None, None));
}

pub(crate) async fn keys_and_buyers_do_not_lock_each_other(world: &dyn IdempotencyLockWorld) {
    let lock = world.instance(LONG);
    acquire(&lock, "ann", "k").await.unwrap();

    assert!(acquire(&lock, "ann", "l").await.is_some());
    assert!(acquire(&lock, "bob", "k").await.is_some());
}

pub(crate) async fn a_released_lock_can_be_acquired(world: &dyn IdempotencyLockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    let lease = acquire(&here, "ann", "k").await.unwrap();

    here.release(lease).await;

    assert!(acquire(&there, "ann", "k").await.is_some());
}

pub(crate) async fn a_lock_whose_holder_died_expires(world: &dyn IdempotencyLockWorld) {
    let (dying, next) = (world.instance(SHORT), world.instance(LONG));
    acquire(&dying, "ann", "k").await.unwrap();

    world.advance(SHORT);

    eventually("the lock is free", async || acquire(&next, "ann", "k").await.is_some()).await;
}

pub(crate) async fn a_late_release_leaves_the_lock_of_the_next_holder_alone(
    world: &dyn IdempotencyLockWorld,
) {
    let (late, next) = (world.instance(SHORT), world.instance(LONG));
    let lease = acquire(&late, "ann", "k").await.unwrap();
    world.advance(SHORT);
    eventually("the lock is free", async || acquire(&next, "ann", "k").await.is_some()).await;

    late.release(lease).await;

    assert_eq!(acquire(&late, "ann", "k").await, None);
}

/// The fake's locks.
pub(crate) struct FakeIdempotencyLockWorld {
    clock: Arc<FakeClock>,
    locks: Arc<FakeIdempotencyLocks>,
}

impl FakeIdempotencyLockWorld {
    fn open() -> Self {
        let clock = FakeClock::at(at(0));
        let locks = FakeIdempotencyLocks::new(Arc::clone(&clock));
        Self { clock, locks }
    }
}

impl IdempotencyLockWorld for FakeIdempotencyLockWorld {
    fn instance(&self, ttl: Duration) -> Arc<dyn IdempotencyLock> {
        self.locks.instance(ttl)
    }

    fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[cfg(test)]
mod fake {
    super::idempotency_lock_contract!(super::FakeIdempotencyLockWorld::open());
}
