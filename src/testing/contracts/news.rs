//! What every [`News`] keeps.

use std::sync::{Arc, Mutex};

use super::eventually;
use crate::application::ports::{News, StockFacts};
use crate::domain::ids::SaleId;
use crate::testing::builders::{sale_id, sold_out};
use crate::testing::fakes::FakeNews;

macro_rules! news_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { news in $world =>
            what_one_instance_tells_all_listeners_hear
        }
    };
}
pub(crate) use news_contract;

/// Is called with what is told.
pub(crate) type Listener = Arc<dyn Fn(SaleId, &StockFacts) + Send + Sync>;

type Heard = Vec<(SaleId, StockFacts)>;

/// Instances that tell and listen.
pub(crate) trait NewsWorld: Send + Sync {
    /// One more instance that tells.
    fn teller(&self) -> Arc<dyn News>;

    /// One more instance that listens, soon.
    fn listen(&self, listener: Listener);
}

pub(crate) async fn what_one_instance_tells_all_listeners_hear(world: &dyn NewsWorld) {
    let heard: [Arc<Mutex<Heard>>; 2] = Default::default();
    for ears in &heard {
        let ears = Arc::clone(ears);
        world.listen(Arc::new(move |sale, facts| ears.lock().unwrap().push((sale, facts.clone()))));
    }
    let teller = world.teller();
    let facts = sold_out(3, &[1, 10_000]);

    // Whoever does not listen yet misses it, so it is told again.
    eventually("both have heard", async || {
        teller.tell(sale_id(7), &facts);
        heard.iter().all(|ears| !ears.lock().unwrap().is_empty())
    })
    .await;

    assert!(heard.iter().all(|ears| ears.lock().unwrap()[0] == (sale_id(7), facts.clone())));
}

impl NewsWorld for Arc<FakeNews> {
    fn teller(&self) -> Arc<dyn News> {
        self.clone()
    }

    fn listen(&self, listener: Listener) {
        FakeNews::listen(self, listener);
    }
}

#[cfg(test)]
mod fake {
    use std::sync::Arc;

    use crate::testing::fakes::FakeNews;

    super::news_contract!(Arc::<FakeNews>::default());
}
