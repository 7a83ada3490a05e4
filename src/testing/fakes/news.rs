//! News that anybody who listens hears at once.

use std::sync::{Arc, Mutex};

use crate::application::ports::{News, StockFacts};
use crate::domain::ids::SaleId;

type Listener = Arc<dyn Fn(SaleId, &StockFacts) + Send + Sync>;

/// Tells its listeners, and keeps what was told.
#[derive(Default)]
pub(crate) struct FakeNews {
    listeners: Mutex<Vec<Listener>>,
    told: Mutex<Vec<(SaleId, StockFacts)>>,
}

impl FakeNews {
    pub(crate) fn listen(&self, listener: Listener) {
        self.listeners.lock().unwrap().push(listener);
    }

    pub(crate) fn told(&self) -> Vec<(SaleId, StockFacts)> {
        self.told.lock().unwrap().clone()
    }
}

impl News for FakeNews {
    fn tell(&self, sale: SaleId, facts: &StockFacts) {
        self.told.lock().unwrap().push((sale, facts.clone()));
        for listener in &*self.listeners.lock().unwrap() {
            listener(sale, facts);
        }
    }
}
