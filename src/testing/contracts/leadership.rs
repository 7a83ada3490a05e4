//! What every [`Leadership`] guarantees.

use std::sync::Arc;
use std::time::Duration;

use super::eventually::eventually;
use crate::application::ports::Leadership;
use crate::testing::builders::at;
use crate::testing::fakes::{FakeClock, FakeLeaderships};

macro_rules! leadership_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { leadership in $world =>
            a_task_has_one_leader
            tasks_have_leaders_of_their_own
            a_call_of_the_leader_renews_its_term
            after_the_term_another_instance_leads
        }
    };
}
pub(crate) use leadership_contract;

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
/// Ends soon.
const SHORT: Duration = Duration::from_millis(50);

/// Terms that any number of instances share.
pub(crate) trait LeadershipWorld: Send + Sync {
    /// The instance with this number.
    fn instance(&self, number: u32) -> Arc<dyn Leadership>;

    /// Advances a fake clock; real time passes by itself.
    fn advance(&self, time: Duration);
}

pub(crate) async fn a_task_has_one_leader(world: &dyn LeadershipWorld) {
    let (one, two) = (world.instance(1), world.instance(2));

    let led = (one.lead("dishes", LONG).await.unwrap(), two.lead("dishes", LONG).await.unwrap());

    assert_eq!(led, (true, false));
}

pub(crate) async fn tasks_have_leaders_of_their_own(world: &dyn LeadershipWorld) {
    let (one, two) = (world.instance(1), world.instance(2));

    let led = (one.lead("dishes", LONG).await.unwrap(), two.lead("laundry", LONG).await.unwrap());

    assert_eq!(led, (true, true));
}

pub(crate) async fn a_call_of_the_leader_renews_its_term(world: &dyn LeadershipWorld) {
    let (one, two) = (world.instance(1), world.instance(2));
    one.lead("dishes", LONG).await.unwrap();

    let renewed = one.lead("dishes", SHORT).await.unwrap();
    world.advance(SHORT);

    // The first, long term would not have ended.
    assert!(renewed);
    eventually("the other instance leads", async || two.lead("dishes", LONG).await.unwrap()).await;
}

pub(crate) async fn after_the_term_another_instance_leads(world: &dyn LeadershipWorld) {
    let (one, two) = (world.instance(1), world.instance(2));
    one.lead("dishes", SHORT).await.unwrap();
    world.advance(SHORT);

    eventually("the other instance leads", async || two.lead("dishes", LONG).await.unwrap()).await;

    assert!(!one.lead("dishes", LONG).await.unwrap());
}

/// The fake's terms.
pub(crate) struct FakeLeadershipWorld {
    clock: Arc<FakeClock>,
    terms: Arc<FakeLeaderships>,
}

impl FakeLeadershipWorld {
    fn open() -> Self {
        let clock = FakeClock::at(at(0));
        let terms = FakeLeaderships::new(Arc::clone(&clock));
        Self { clock, terms }
    }
}

impl LeadershipWorld for FakeLeadershipWorld {
    fn instance(&self, number: u32) -> Arc<dyn Leadership> {
        self.terms.instance(number)
    }

    fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[cfg(test)]
mod fake {
    super::leadership_contract!(super::FakeLeadershipWorld::open());
}
