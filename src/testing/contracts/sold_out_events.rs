//! What every [`SoldOutEvents`] guarantees.

use std::sync::{Arc, Mutex};

use super::eventually::eventually;
use crate::application::ports::{SoldOutEvent, SoldOutEvents};
use crate::domain::ids::ItemNo;
use crate::testing::builders::sale_id;
use crate::testing::fakes::FakeSoldOutEvents;

macro_rules! sold_out_events_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { sold_out_events in $world =>
            every_subscriber_receives_what_an_instance_publishes
        }
    };
}
pub(crate) use sold_out_events_contract;

/// Called with each event.
pub(crate) type Listener = Arc<dyn Fn(SoldOutEvent) + Send + Sync>;

/// Instances that publish and subscribe.
pub(crate) trait SoldOutEventsWorld: Send + Sync {
    /// One more instance that publishes.
    fn publisher(&self) -> Arc<dyn SoldOutEvents>;

    /// Subscribes one more instance, soon.
    fn subscribe(&self, listener: Listener);
}

pub(crate) async fn every_subscriber_receives_what_an_instance_publishes(
    world: &dyn SoldOutEventsWorld,
) {
    let received: [Arc<Mutex<Vec<SoldOutEvent>>>; 2] = Default::default();
    for events in &received {
        let events = Arc::clone(events);
        world.subscribe(Arc::new(move |event| events.lock().unwrap().push(event)));
    }
    let publisher = world.publisher();
    let announced = vec![ItemNo(1), ItemNo(10_000)];

    // Published repeatedly, because an instance that is not subscribed yet misses an event.
    eventually("both have received it", async || {
        publisher.publish(sale_id(7), &announced);
        received.iter().all(|events| !events.lock().unwrap().is_empty())
    })
    .await;

    for events in &received {
        let event = events.lock().unwrap()[0].clone();
        let SoldOutEvent::Own { sale, mut items } = event else { panic!("{event:?}") };
        // An adapter may merge events, so an item may occur twice.
        items.sort_unstable();
        items.dedup();
        assert_eq!((sale, &items), (sale_id(7), &announced));
    }
}

impl SoldOutEventsWorld for Arc<FakeSoldOutEvents> {
    fn publisher(&self) -> Arc<dyn SoldOutEvents> {
        self.clone()
    }

    fn subscribe(&self, listener: Listener) {
        FakeSoldOutEvents::subscribe(self, listener);
    }
}

#[cfg(test)]
mod fake {
    use std::sync::Arc;

    use crate::testing::fakes::FakeSoldOutEvents;

    super::sold_out_events_contract!(Arc::<FakeSoldOutEvents>::default());
}
