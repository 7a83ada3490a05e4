//! What every [`CodeLock`] keeps.

use std::sync::Arc;
use std::time::Duration;

use super::eventually;
use crate::application::ports::{CodeLock, Lease};
use crate::domain::ids::{AttemptId, SaleId};
use crate::testing::builders::{at, attempt_id, sale_id};
use crate::testing::fakes::{FakeClock, FakeCodeLocks};

macro_rules! code_lock_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { code_lock in $world =>
            a_lock_has_one_holder
            codes_do_not_lock_each_other
            a_lock_that_was_given_back_can_be_taken
            a_lock_whose_holder_died_expires
            a_late_release_leaves_the_lock_of_the_next_holder_alone
            each_lease_has_an_owner_of_its_own
        }
    };
}
pub(crate) use code_lock_contract;

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
/// Over soon.
const SHORT: Duration = Duration::from_millis(50);

/// Locks that any number of instances share.
pub(crate) trait LockWorld: Send + Sync {
    /// One more instance, whose locks expire after `ttl` and whose callers wait a moment at most.
    fn instance(&self, ttl: Duration) -> Arc<dyn CodeLock>;

    /// So much time passes, where time does not pass by itself.
    fn pass(&self, time: Duration);
}

fn code(number: i64) -> (SaleId, AttemptId) {
    (sale_id(1), attempt_id(number))
}

async fn take(lock: &Arc<dyn CodeLock>, number: i64) -> Option<Lease> {
    let (sale, attempt) = code(number);
    lock.acquire(sale, attempt).await.unwrap()
}

pub(crate) async fn a_lock_has_one_holder(world: &dyn LockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    take(&here, 1).await.unwrap();

    assert_eq!((take(&here, 1).await, take(&there, 1).await), (None, None));
}

pub(crate) async fn codes_do_not_lock_each_other(world: &dyn LockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    take(&here, 1).await.unwrap();

    assert!(take(&there, 2).await.is_some());
}

pub(crate) async fn a_lock_that_was_given_back_can_be_taken(world: &dyn LockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    let lease = take(&here, 1).await.unwrap();

    here.release(lease);

    eventually("the lock is free", async || take(&there, 1).await.is_some()).await;
}

pub(crate) async fn a_lock_whose_holder_died_expires(world: &dyn LockWorld) {
    let (dying, next) = (world.instance(SHORT), world.instance(LONG));
    take(&dying, 1).await.unwrap();

    world.pass(SHORT);

    eventually("the lock is free", async || take(&next, 1).await.is_some()).await;
}

pub(crate) async fn a_late_release_leaves_the_lock_of_the_next_holder_alone(world: &dyn LockWorld) {
    let (late, next) = (world.instance(SHORT), world.instance(LONG));
    let lease = take(&late, 1).await.unwrap();
    world.pass(SHORT);
    eventually("the lock is free", async || take(&next, 1).await.is_some()).await;

    late.release(lease);

    // Releases are done in order: once the one behind it is done, the late one is.
    let behind = Lease { attempt: attempt_id(2), ..take(&next, 2).await.unwrap() };
    late.release(behind);
    eventually("the lock behind is free", async || take(&next, 2).await.is_some()).await;
    assert_eq!(take(&late, 1).await, None);
}

pub(crate) async fn each_lease_has_an_owner_of_its_own(world: &dyn LockWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));

    let leases = [take(&here, 1).await, take(&here, 2).await, take(&there, 3).await];

    let [one, two, three] = leases.map(|lease| lease.unwrap().owner);
    assert!(one != two && two != three && one != three);
}

/// The fake's locks.
pub(crate) struct FakeLocks {
    clock: Arc<FakeClock>,
    locks: Arc<FakeCodeLocks>,
    instances: std::sync::atomic::AtomicU32,
}

impl FakeLocks {
    fn open() -> Self {
        let clock = FakeClock::at(at(0));
        let locks = FakeCodeLocks::new(Arc::clone(&clock));
        Self { clock, locks, instances: 0.into() }
    }
}

impl LockWorld for FakeLocks {
    fn instance(&self, ttl: Duration) -> Arc<dyn CodeLock> {
        let number = self.instances.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.locks.instance(number, ttl)
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[cfg(test)]
mod fake {
    super::code_lock_contract!(super::FakeLocks::open());
}
