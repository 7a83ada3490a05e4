//! Business metrics that record every event.

use std::sync::Mutex;

use crate::application::ports::{
    BusinessMetrics, FilterResult, PurchaseAnswer, RefusalReason, SoldOutHint,
};

/// One counted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Checkout(Option<RefusalReason>),
    Purchase(PurchaseAnswer),
    Sold(i32),
    Refused(RefusalReason),
    Filter(FilterResult),
    SoldOutHints(SoldOutHint, usize),
}

/// Records events in order.
#[derive(Default)]
pub(crate) struct FakeBusinessMetrics {
    events: Mutex<Vec<Counted>>,
}

impl FakeBusinessMetrics {
    /// How often this event was counted.
    pub(crate) fn count(&self, wanted: Counted) -> usize {
        self.events.lock().unwrap().iter().filter(|event| **event == wanted).count()
    }

    fn add(&self, event: Counted) {
        self.events.lock().unwrap().push(event);
    }
}

impl BusinessMetrics for FakeBusinessMetrics {
    fn checkout(&self, refused: Option<RefusalReason>) {
        self.add(Counted::Checkout(refused));
    }

    fn purchase(&self, answer: PurchaseAnswer) {
        self.add(Counted::Purchase(answer));
    }

    fn sold(&self, pieces: i32) {
        self.add(Counted::Sold(pieces));
    }

    fn refused(&self, reason: RefusalReason) {
        self.add(Counted::Refused(reason));
    }

    fn filter(&self, result: FilterResult) {
        self.add(Counted::Filter(result));
    }

    fn sold_out_hints(&self, hint: SoldOutHint, items: usize) {
        self.add(Counted::SoldOutHints(hint, items));
    }
}
