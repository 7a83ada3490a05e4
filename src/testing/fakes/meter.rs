//! Counts by writing down.

use std::sync::Mutex;

use crate::application::ports::{FilterResult, Meter, PurchaseAnswer, RefusalReason};

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metered {
    Checkout(Option<RefusalReason>),
    Purchase(PurchaseAnswer),
    Sold(i32),
    Refused(RefusalReason),
    Filter(FilterResult),
}

/// Keeps everything in order.
#[derive(Default)]
pub(crate) struct FakeMeter {
    metered: Mutex<Vec<Metered>>,
}

impl FakeMeter {
    /// How often this was counted.
    pub(crate) fn count(&self, wanted: Metered) -> usize {
        self.metered.lock().unwrap().iter().filter(|metered| **metered == wanted).count()
    }

    fn add(&self, metered: Metered) {
        self.metered.lock().unwrap().push(metered);
    }
}

impl Meter for FakeMeter {
    fn checkout(&self, refused: Option<RefusalReason>) {
        self.add(Metered::Checkout(refused));
    }

    fn purchase(&self, answer: PurchaseAnswer) {
        self.add(Metered::Purchase(answer));
    }

    fn sold(&self, pieces: i32) {
        self.add(Metered::Sold(pieces));
    }

    fn refused(&self, reason: RefusalReason) {
        self.add(Metered::Refused(reason));
    }

    fn filter(&self, result: FilterResult) {
        self.add(Metered::Filter(result));
    }
}
