//! Locks on idempotency keys that expire by the fake clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::FakeClock;
use crate::application::ports::{Clock, IdempotencyLease, IdempotencyLock, PortError};
use crate::domain::ids::{BuyerId, IdempotencyKey};

/// The locks of all instances.
pub(crate) struct FakeIdempotencyLocks {
    clock: Arc<FakeClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Owner and expiry of each lock.
    held: HashMap<(BuyerId, IdempotencyKey), (String, Duration)>,
    owners: u64,
}

/// One instance.
pub(crate) struct FakeIdempotencyLock {
    locks: Arc<FakeIdempotencyLocks>,
    ttl: Duration,
}

impl FakeIdempotencyLocks {
    pub(crate) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    pub(crate) fn instance(self: &Arc<Self>, ttl: Duration) -> Arc<FakeIdempotencyLock> {
        Arc::new(FakeIdempotencyLock { locks: Arc::clone(self), ttl })
    }
}

#[async_trait]
impl IdempotencyLock for FakeIdempotencyLock {
    async fn acquire(
        &self,
        buyer: &BuyerId,
        key: &IdempotencyKey,
    ) -> Result<Option<IdempotencyLease>, PortError> {
        let now = self.locks.clock.monotonic();
        let mut state = self.locks.state.lock().unwrap();
        let lock = (buyer.clone(), key.clone());
        if state.held.get(&lock).is_some_and(|(_, expiry)| now < *expiry) {
            return Ok(None);
        }
        state.owners += 1;
        let owner = state.owners.to_string();
        state.held.insert(lock, (owner.clone(), now + self.ttl));
        Ok(Some(IdempotencyLease { buyer: buyer.clone(), key: key.clone(), owner }))
    }

    async fn release(&self, lease: IdempotencyLease) {
        let mut state = self.locks.state.lock().unwrap();
        let lock = (lease.buyer, lease.key);
        if state.held.get(&lock).is_some_and(|(owner, _)| *owner == lease.owner) {
            state.held.remove(&lock);
        }
    }
}
