//! Locks on codes that expire by the fake clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::FakeClock;
use crate::application::ports::{Clock, CodeLock, Lease, PortError};
use crate::domain::ids::{AttemptId, SaleId};

/// The locks of all instances.
pub(crate) struct FakeCodeLocks {
    clock: Arc<FakeClock>,
    /// Owner and expiry of each lock.
    held: Mutex<HashMap<(SaleId, AttemptId), (String, Duration)>>,
}

/// One instance.
pub(crate) struct FakeCodeLock {
    locks: Arc<FakeCodeLocks>,
    ttl: Duration,
    owners: Mutex<u64>,
    name: u32,
}

impl FakeCodeLocks {
    pub(crate) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        Arc::new(Self { clock, held: Mutex::default() })
    }

    pub(crate) fn instance(self: &Arc<Self>, name: u32, ttl: Duration) -> Arc<FakeCodeLock> {
        Arc::new(FakeCodeLock { locks: Arc::clone(self), ttl, owners: Mutex::default(), name })
    }
}

#[async_trait]
impl CodeLock for FakeCodeLock {
    async fn acquire(&self, sale: SaleId, attempt: AttemptId) -> Result<Option<Lease>, PortError> {
        let now = self.locks.clock.monotonic();
        let mut held = self.locks.held.lock().unwrap();
        if held.get(&(sale, attempt)).is_some_and(|(_, expiry)| now < *expiry) {
            return Ok(None);
        }
        let mut owners = self.owners.lock().unwrap();
        *owners += 1;
        let owner = format!("{}-{owners}", self.name);
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
