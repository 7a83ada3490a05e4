//! Locks on codes that expire by the clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::FakeClock;
use crate::application::ports::{Clock, CodeLock, Lease, PortError};
use crate::domain::ids::{AttemptId, SaleId};

/// Who holds what until when.
pub(crate) struct FakeCodeLocks {
    clock: Arc<FakeClock>,
    held: Mutex<HashMap<(SaleId, AttemptId), (String, Duration)>>,
}

/// One instance. A caller that finds the lock taken waits no time at all.
pub(crate) struct FakeCodeLock {
    locks: Arc<FakeCodeLocks>,
    ttl: Duration,
    taken: Mutex<u64>,
    name: u32,
}

impl FakeCodeLocks {
    pub(crate) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        Arc::new(Self { clock, held: Mutex::default() })
    }

    pub(crate) fn instance(self: &Arc<Self>, name: u32, ttl: Duration) -> Arc<FakeCodeLock> {
        Arc::new(FakeCodeLock { locks: Arc::clone(self), ttl, taken: Mutex::default(), name })
    }
}

#[async_trait]
impl CodeLock for FakeCodeLock {
    async fn acquire(&self, sale: SaleId, attempt: AttemptId) -> Result<Option<Lease>, PortError> {
        let now = self.locks.clock.monotonic();
        let mut held = self.locks.held.lock().unwrap();
        if held.get(&(sale, attempt)).is_some_and(|(_, end)| now < *end) {
            return Ok(None);
        }
        let mut taken = self.taken.lock().unwrap();
        *taken += 1;
        let owner = format!("{}-{taken}", self.name);
        held.insert((sale, attempt), (owner.clone(), now + self.ttl));
        Ok(Some(Lease { sale, attempt, owner }))
    }

    fn release(&self, lease: Lease) {
        let mut held = self.locks.held.lock().unwrap();
        let key = (lease.sale, lease.attempt);
        if held.get(&key).is_some_and(|(owner, _)| *owner == lease.owner) {
            held.remove(&key);
        }
    }
}
