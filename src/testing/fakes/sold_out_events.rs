//! Sold-out events that subscribers receive at once.

use std::sync::{Arc, Mutex};

use crate::application::ports::{SoldOutEvent, SoldOutEvents};
use crate::domain::ids::{ItemNo, SaleId};

type Listener = Arc<dyn Fn(SoldOutEvent) + Send + Sync>;

/// Calls its listeners and records the events.
#[derive(Default)]
pub(crate) struct FakeSoldOutEvents {
    listeners: Mutex<Vec<Listener>>,
    published: Mutex<Vec<(SaleId, Vec<ItemNo>)>>,
}

impl FakeSoldOutEvents {
    pub(crate) fn subscribe(&self, listener: Listener) {
        self.listeners.lock().unwrap().push(listener);
    }

    pub(crate) fn published(&self) -> Vec<(SaleId, Vec<ItemNo>)> {
        self.published.lock().unwrap().clone()
    }
}

impl SoldOutEvents for FakeSoldOutEvents {
    fn publish(&self, sale: SaleId, sold_out: &[ItemNo]) {
        self.published.lock().unwrap().push((sale, sold_out.to_vec()));
        for listener in &*self.listeners.lock().unwrap() {
            listener(SoldOutEvent::Own { sale, items: sold_out.to_vec() });
        }
    }
}
