//! Sold-out events that subscribers receive at once.

use std::sync::{Arc, Mutex};

use crate::application::ports::{SoldOutEvents, StockFacts};
use crate::domain::ids::SaleId;

type Listener = Arc<dyn Fn(SaleId, &StockFacts) + Send + Sync>;

/// Calls its listeners and records the events.
#[derive(Default)]
pub(crate) struct FakeSoldOutEvents {
    listeners: Mutex<Vec<Listener>>,
    published: Mutex<Vec<(SaleId, StockFacts)>>,
}

impl FakeSoldOutEvents {
    pub(crate) fn subscribe(&self, listener: Listener) {
        self.listeners.lock().unwrap().push(listener);
    }

    pub(crate) fn published(&self) -> Vec<(SaleId, StockFacts)> {
        self.published.lock().unwrap().clone()
    }
}

impl SoldOutEvents for FakeSoldOutEvents {
    fn publish(&self, sale: SaleId, facts: &StockFacts) {
        self.published.lock().unwrap().push((sale, facts.clone()));
        for listener in &*self.listeners.lock().unwrap() {
            listener(sale, facts);
        }
    }
}
