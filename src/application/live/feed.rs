//! A feed: the newest state of a followed sale, in front of all of its listeners.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::watch;

use super::facts::LiveFacts;
use crate::domain::ids::SaleId;

/// The newest state of a sale.
pub(super) struct Feed {
    pub(super) sale: SaleId,
    newest: watch::Sender<Newest>,
    /// Whether a client has come back since the last reading began.
    has_returned: AtomicBool,
}

#[derive(Debug, Default)]
struct Newest {
    told: Option<Told>,
    is_closed: bool,
}

/// A state, as listeners get it.
#[derive(Debug)]
struct Told {
    facts: LiveFacts,
    event: Bytes,
    /// Number of the reading; 0 for a first state, which no reading of a tick has.
    reading: u64,
}

/// What one listener has received.
#[derive(Debug)]
pub(super) struct Subscription {
    newest: watch::Receiver<Newest>,
    seen: Option<LiveFacts>,
    /// Only states of later readings are sent.
    after: Option<u64>,
}

impl Feed {
    pub(super) fn new(sale: SaleId) -> Self {
        let (newest, _) = watch::channel(Newest::default());
        Self { sale, newest, has_returned: AtomicBool::new(false) }
    }

    /// A new listener. One that comes back has perhaps received more from another instance than this one has read: it waits for a
    /// reading that begins now. `readings` have begun so far.
    pub(super) fn subscribe(&self, seen: Option<LiveFacts>, readings: u64) -> Subscription {
        let newest = self.newest.subscribe();
        let after = seen.map(|_| readings);
        if seen.is_some() {
            self.has_returned.store(true, Ordering::Relaxed);
        }
        Subscription { newest, seen, after }
    }

    pub(super) fn has_state(&self) -> bool {
        self.newest.borrow().told.is_some()
    }

    pub(super) fn has_listeners(&self) -> bool {
        self.newest.receiver_count() > 0
    }

    /// Whether a client has come back since this was last asked.
    pub(super) fn take_returned(&self) -> bool {
        self.has_returned.swap(false, Ordering::Relaxed)
    }

    /// The state before the first tick, for the listener that has just come.
    pub(super) fn tell_first(&self, facts: LiveFacts, event: Bytes) {
        self.newest.send_if_modified(|newest| {
            let is_first = newest.told.is_none();
            newest.told.get_or_insert(Told { facts, event, reading: 0 });
            is_first
        });
    }

    /// The state of a reading. Listeners are woken if it has changed, or if one of them has returned and waits for this reading.
    pub(super) fn tell(
        &self,
        facts: LiveFacts,
        event: Bytes,
        (reading, has_returned): (u64, bool),
    ) {
        self.newest.send_if_modified(|newest| {
            let is_new = newest.told.as_ref().is_none_or(|told| told.facts != facts);
            newest.told = Some(Told { facts, event, reading });
            is_new || has_returned
        });
    }

    /// Ends the streams, once their listeners have the newest state.
    pub(super) fn close(&self) {
        self.newest.send_modify(|newest| newest.is_closed = true);
    }
}

impl Subscription {
    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            {
                let newest = self.newest.borrow_and_update();
                if let Some(told) = &newest.told
                    && self.after.is_none_or(|after| told.reading > after)
                    && self.seen != Some(told.facts)
                {
                    self.seen = Some(told.facts);
                    return Some(told.event.clone());
                }
                if newest.is_closed {
                    return None;
                }
            }
            self.newest.changed().await.ok()?;
        }
    }
}
