//! Gates for idempotency keys that open by the clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::clock::FakeClock;
use crate::application::ports::{Clock, KeyGate, KeyLease, PortError};
use crate::domain::ids::{BuyerId, IdempotencyKey};

/// Who is in until when.
pub(crate) struct FakeGates {
    clock: Arc<FakeClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    inside: HashMap<(BuyerId, IdempotencyKey), (String, Duration)>,
    entered: u64,
}

/// One instance.
pub(crate) struct FakeGate {
    gates: Arc<FakeGates>,
    ttl: Duration,
}

impl FakeGates {
    pub(crate) fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    pub(crate) fn instance(self: &Arc<Self>, ttl: Duration) -> Arc<FakeGate> {
        Arc::new(FakeGate { gates: Arc::clone(self), ttl })
    }
}

#[async_trait]
impl KeyGate for FakeGate {
    async fn enter(
        &self,
        buyer: &BuyerId,
        key: &IdempotencyKey,
    ) -> Result<Option<KeyLease>, PortError> {
        let now = self.gates.clock.monotonic();
        let mut state = self.gates.state.lock().unwrap();
        let place = (buyer.clone(), key.clone());
        if state.inside.get(&place).is_some_and(|(_, end)| now < *end) {
            return Ok(None);
        }
        state.entered += 1;
        let owner = state.entered.to_string();
        state.inside.insert(place, (owner.clone(), now + self.ttl));
        Ok(Some(KeyLease { buyer: buyer.clone(), key: key.clone(), owner }))
    }

    async fn leave(&self, lease: KeyLease) {
        let mut state = self.gates.state.lock().unwrap();
        let place = (lease.buyer, lease.key);
        if state.inside.get(&place).is_some_and(|(owner, _)| *owner == lease.owner) {
            state.inside.remove(&place);
        }
    }
}
