//! What every [`SoldOutEvents`] guarantees.

use std::sync::{Arc, Mutex};

use super::eventually::eventually;
use crate::application::ports::{SoldOutEvents, StockFacts};
use crate::domain::ids::SaleId;
use crate::testing::builders::{sale_id, sold_out};
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
pub(crate) type Listener = Arc<dyn Fn(SaleId, &StockFacts) + Send + Sync>;

type Received = Vec<(SaleId, StockFacts)>;

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
    let received: [Arc<Mutex<Received>>; 2] = Default::default();
    for events in &received {
        let events = Arc::clone(events);
        world.subscribe(Arc::new(move |sale, facts| {
            events.lock().unwrap().push((sale, facts.clone()));
        }));
    }
    let publisher = world.publisher();
    let facts = sold_out(3, &[1, 10_000]);

    // Published repeatedly, because an instance that is not subscribed yet misses an event.
    eventually("both have received it", async || {
        publisher.publish(sale_id(7), &facts);
        received.iter().all(|events| !events.lock().unwrap().is_empty())
    })
    .await;

    for events in &received {
        let (sale, mut event) = events.lock().unwrap()[0].clone();
        // An adapter may merge events, so an item may occur twice.
        event.sold_out.sort_unstable();
        event.sold_out.dedup();
        assert_eq!((sale, event), (sale_id(7), facts.clone()));
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
