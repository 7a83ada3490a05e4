//! What every [`KeyGate`] keeps.

use std::sync::Arc;
use std::time::Duration;

use super::eventually;
use crate::application::ports::{KeyGate, KeyLease};
use crate::domain::ids::IdempotencyKey;
use crate::testing::builders::{at, buyer};
use crate::testing::fakes::{FakeClock, FakeGates};

macro_rules! key_gate_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { key_gate in $world =>
            one_request_with_a_key_is_in_at_a_time
            keys_and_buyers_do_not_keep_each_other_out
            whoever_leaves_lets_the_next_one_in
            a_gate_whose_instance_died_opens
            a_late_leave_opens_for_nobody_else
        }
    };
}
pub(crate) use key_gate_contract;

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
/// Over soon.
const SHORT: Duration = Duration::from_millis(50);

/// Gates that any number of instances share.
pub(crate) trait GateWorld: Send + Sync {
    /// One more instance, whose gates open after `ttl`.
    fn instance(&self, ttl: Duration) -> Arc<dyn KeyGate>;

    /// So much time passes, where time does not pass by itself.
    fn pass(&self, time: Duration);
}

async fn enter(gate: &Arc<dyn KeyGate>, who: &str, key: &str) -> Option<KeyLease> {
    gate.enter(&buyer(who), &IdempotencyKey::parse(key).unwrap()).await.unwrap()
}

pub(crate) async fn one_request_with_a_key_is_in_at_a_time(world: &dyn GateWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    enter(&here, "ann", "k").await.unwrap();

    assert_eq!((enter(&here, "ann", "k").await, enter(&there, "ann", "k").await), (None, None));
}

pub(crate) async fn keys_and_buyers_do_not_keep_each_other_out(world: &dyn GateWorld) {
    let gate = world.instance(LONG);
    enter(&gate, "ann", "k").await.unwrap();

    assert!(enter(&gate, "ann", "l").await.is_some());
    assert!(enter(&gate, "bob", "k").await.is_some());
}

pub(crate) async fn whoever_leaves_lets_the_next_one_in(world: &dyn GateWorld) {
    let (here, there) = (world.instance(LONG), world.instance(LONG));
    let lease = enter(&here, "ann", "k").await.unwrap();

    here.leave(lease).await;

    assert!(enter(&there, "ann", "k").await.is_some());
}

pub(crate) async fn a_gate_whose_instance_died_opens(world: &dyn GateWorld) {
    let (dying, next) = (world.instance(SHORT), world.instance(LONG));
    enter(&dying, "ann", "k").await.unwrap();

    world.pass(SHORT);

    eventually("the gate is open", async || enter(&next, "ann", "k").await.is_some()).await;
}

pub(crate) async fn a_late_leave_opens_for_nobody_else(world: &dyn GateWorld) {
    let (late, next) = (world.instance(SHORT), world.instance(LONG));
    let lease = enter(&late, "ann", "k").await.unwrap();
    world.pass(SHORT);
    eventually("the gate is open", async || enter(&next, "ann", "k").await.is_some()).await;

    late.leave(lease).await;

    assert_eq!(enter(&late, "ann", "k").await, None);
}

/// The fake's gates.
pub(crate) struct FakeGateWorld {
    clock: Arc<FakeClock>,
    gates: Arc<FakeGates>,
}

impl FakeGateWorld {
    fn open() -> Self {
        let clock = FakeClock::at(at(0));
        let gates = FakeGates::new(Arc::clone(&clock));
        Self { clock, gates }
    }
}

impl GateWorld for FakeGateWorld {
    fn instance(&self, ttl: Duration) -> Arc<dyn KeyGate> {
        self.gates.instance(ttl)
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[cfg(test)]
mod fake {
    super::key_gate_contract!(super::FakeGateWorld::open());
}
