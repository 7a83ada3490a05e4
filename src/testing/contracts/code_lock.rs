//! What every [`CodeLock`] guarantees.

use std::sync::Arc;
use std::time::Duration;

use super::eventually::eventually;
use crate::application::ports::{CodeLock, Lease};
use crate::domain::ids::{AttemptId, SaleId};
use crate::testing::builders::{at, attempt_id, sale_id};
use crate::testing::fakes::{FakeClock, FakeCodeLocks};

macro_rules! code_lock_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { code_lock in $world =>
            a_lock_has_one_holder
            codes_do_not_lock_each_other
            a_released_lock_can_be_acquired
            a_lock_whose_holder_died_expires
            a_late_release_leaves_the_lock_of_the_next_holder_alone
            each_lease_has_an_owner_of_its_own
        }
    };
}
pub(crate) use code_lock_contract;

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
/// Expires soon.
const SHORT: Duration = Duration::from_millis(50);

/// Locks that any number of instances share.
pub(crate) trait CodeLockWorld: Send + Sync {
    /// One more instance, whose locks expire after `ttl`.
    fn instance(&self, ttl: Duration) -> Arc<dyn CodeLock>;

    /// Advances a fake clock; real time passes by itself.
    fn advance(&self, time: Duration);
}

fn code(number: i64) -> (SaleId, AttemptId) {
    (sale_id(1), attempt_id(number))
}

async fn acquire(lock: &Arc<dyn CodeLock>, number: i64) -> Option<Lease> {
    let (sale, attempt) = code(number);
    lock.acquire(sale, attempt).await.unwrap()
}

pub(crate) async fn a_lock_has_one_holder(world: &dyn CodeLockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    acquire(&here, 1).await.unwrap();

    assert_eq!((acquire(&here, 1).await, acquire(&there, 1).await), (None, None));
}

pub(crate) async fn codes_do_not_lock_each_other(world: &dyn CodeLockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    acquire(&here, 1).await.unwrap();

    assert!(acquire(&there, 2).await.is_some());
}

pub(crate) async fn a_released_lock_can_be_acquired(world: &dyn CodeLockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    let lease = acquire(&here, 1).await.unwrap();

    here.release(lease);

    eventually("the lock is free", async || acquire(&there, 1).await.is_some()).await;
}

pub(crate) async fn a_lock_whose_holder_died_expires(world: &dyn CodeLockWorld) {
    let (dying, next) = (world.instance(SHORT), world.instance(LONG));
    acquire(&dying, 1).await.unwrap();

    world.advance(SHORT);

    eventually("the lock is free", async || acquire(&next, 1).await.is_some()).await;
}

pub(crate) async fn a_late_release_leaves_the_lock_of_the_next_holder_alone(
    world: &dyn CodeLockWorld,
) {
    let (late, next) = (world.instance(SHORT), world.instance(LONG));
    let lease = acquire(&late, 1).await.unwrap();
    world.advance(SHORT);
    eventually("the lock is free", async || acquire(&next, 1).await.is_some()).await;

    late.release(lease);

    // Releases run in order: once the one behind it has run, the late one has.
    let behind = Lease { attempt: attempt_id(2), ..acquire(&next, 2).await.unwrap() };
    late.release(behind);
    eventually("the lock behind is free", async || acquire(&next, 2).await.is_some()).await;
    assert_eq!(acquire(&late, 1).await, None);
}

pub(crate) async fn each_lease_has_an_owner_of_its_own(world: &dyn CodeLockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));

    let leases = [acquire(&here, 1).await, acquire(&here, 2).await, acquire(&there, 3).await];

    let [one, two, three] = leases.map(|lease| lease.unwrap().owner);
    assert!(one != two && two != three && one != three);
}

/// The fake's locks.
pub(crate) struct FakeCodeLockWorld {
    clock: Arc<FakeClock>,
    locks: Arc<FakeCodeLocks>,
    instances: std::sync::atomic::AtomicU32,
}

impl FakeCodeLockWorld {
    fn open() -> Self {
        let clock = FakeClock::at(at(0));
        let locks = FakeCodeLocks::new(Arc::clone(&clock));
        Self { clock, locks, instances: 0.into() }
    }
}

impl CodeLockWorld for FakeCodeLockWorld {
    fn instance(&self, ttl: Duration) -> Arc<dyn CodeLock> {
        let number = self.instances.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.locks.instance(number, ttl)
    }

    fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[cfg(test)]
mod fake {
    super::code_lock_contract!(super::FakeCodeLockWorld::open());
}
