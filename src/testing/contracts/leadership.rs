//! What every [`Leadership`] keeps.

use std::sync::Arc;
use std::time::Duration;

use super::eventually;
use crate::application::ports::Leadership;
use crate::testing::builders::at;
use crate::testing::fakes::{FakeClock, FakeTerms};

macro_rules! leadership_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { leadership in $world =>
            a_chore_has_one_leader
            chores_have_leaders_of_their_own
            the_leaders_own_call_begins_the_term_anew
            after_the_term_another_one_leads
        }
    };
}
pub(crate) use leadership_contract;

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
/// Over soon.
const SHORT: Duration = Duration::from_millis(50);

/// Terms that any number of instances share.
pub(crate) trait TermWorld: Send + Sync {
    /// The instance of this number.
    fn instance(&self, number: u32) -> Arc<dyn Leadership>;

    /// So much time passes, where time does not pass by itself.
    fn pass(&self, time: Duration);
}

pub(crate) async fn a_chore_has_one_leader(world: &dyn TermWorld) {
    let (one, two) = (world.instance(1), world.instance(2));

    let led = (one.lead("dishes", LONG).await.unwrap(), two.lead("dishes", LONG).await.unwrap());

    assert_eq!(led, (true, false));
}

pub(crate) async fn chores_have_leaders_of_their_own(world: &dyn TermWorld) {
    let (one, two) = (world.instance(1), world.instance(2));

    let led = (one.lead("dishes", LONG).await.unwrap(), two.lead("laundry", LONG).await.unwrap());

    assert_eq!(led, (true, true));
}

pub(crate) async fn the_leaders_own_call_begins_the_term_anew(world: &dyn TermWorld) {
    let (one, two) = (world.instance(1), world.instance(2));
    one.lead("dishes", LONG).await.unwrap();

    let renewed = one.lead("dishes", SHORT).await.unwrap();
    world.pass(SHORT);

    // The long term would not be over.
    assert!(renewed);
    eventually("the other one leads", async || two.lead("dishes", LONG).await.unwrap()).await;
}

pub(crate) async fn after_the_term_another_one_leads(world: &dyn TermWorld) {
    let (one, two) = (world.instance(1), world.instance(2));
    one.lead("dishes", SHORT).await.unwrap();
    world.pass(SHORT);

    eventually("the other one leads", async || two.lead("dishes", LONG).await.unwrap()).await;

    assert!(!one.lead("dishes", LONG).await.unwrap());
}

/// The fake's terms.
pub(crate) struct FakeTermWorld {
    clock: Arc<FakeClock>,
    terms: Arc<FakeTerms>,
}

impl FakeTermWorld {
    fn open() -> Self {
        let clock = FakeClock::at(at(0));
        let terms = FakeTerms::new(Arc::clone(&clock));
        Self { clock, terms }
    }
}

impl TermWorld for FakeTermWorld {
    fn instance(&self, number: u32) -> Arc<dyn Leadership> {
        self.terms.instance(number)
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[cfg(test)]
mod fake {
    super::leadership_contract!(super::FakeTermWorld::open());
}
