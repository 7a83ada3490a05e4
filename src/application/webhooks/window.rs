//! The events of the log that are read and not settled yet: which may be sent now, and how far everything is settled.
//!
//! Events with the same key of order form a lane, of which one event at a time is on its way. A batch is settled when all its
//! events are delivered or set aside; the position is that of the last batch before the first that is not.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};

use crate::application::ports::{Event, EventBatch};

/// An event in the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queued {
    /// The event.
    pub(crate) event: Event,
    /// When its batch was written.
    pub(crate) written_at: DateTime<Utc>,
    /// The place of its batch.
    pub(crate) position: i64,
}

/// The events of the log that are read and not settled yet.
#[derive(Debug)]
pub(crate) struct Window {
    batches: VecDeque<OpenBatch>,
    lanes: HashMap<String, VecDeque<Queued>>,
    /// Lanes whose first event may be sent. A lane with an event on its way is not among them.
    ready: VecDeque<String>,
    settled: i64,
    read: i64,
    open: usize,
}

#[derive(Debug)]
struct OpenBatch {
    position: i64,
    open: usize,
}

impl Window {
    /// An empty window behind this position.
    pub(crate) fn after(position: i64) -> Self {
        Self {
            batches: VecDeque::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            settled: position,
            read: position,
            open: 0,
        }
    }

    /// Takes the next batch of the log, with those of its events that are wanted.
    pub(crate) fn push(&mut self, batch: EventBatch, is_wanted: impl Fn(&Event) -> bool) {
        let EventBatch { position, written_at, events } = batch;
        if position <= self.read {
            return;
        }
        let mut open = 0;
        for event in events.into_iter().filter(is_wanted) {
            open += 1;
            let key = event.order_key.clone();
            let queued = Queued { event, written_at, position };
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.push_back(queued);
            } else {
                self.ready.push_back(key.clone());
                self.lanes.insert(key, VecDeque::from([queued]));
            }
        }
        self.open += open;
        self.read = position;
        self.batches.push_back(OpenBatch { position, open });
        self.advance();
    }

    /// The next event to send. Its lane waits until it is [`Self::delivered`], [`Self::put_back`] or its lane [`Self::drained`].
    pub(crate) fn next(&mut self) -> Option<Queued> {
        let key = self.ready.pop_front()?;
        self.lanes.get_mut(&key)?.pop_front()
    }

    /// An event that was taken out is settled, and the next of its lane may be sent.
    pub(crate) fn delivered(&mut self, queued: &Queued) {
        let key = &queued.event.order_key;
        match self.lanes.get(key) {
            Some(lane) if !lane.is_empty() => self.ready.push_back(key.clone()),
            _ => drop(self.lanes.remove(key)),
        }
        self.settle(queued.position);
    }

    /// An event that was taken out goes back to the front of its lane.
    pub(crate) fn put_back(&mut self, queued: Queued) {
        let key = queued.event.order_key.clone();
        self.lanes.entry(key.clone()).or_default().push_front(queued);
        self.ready.push_back(key);
    }

    /// Takes all events out of a lane, also of one with an event on its way, and settles them.
    pub(crate) fn drained(&mut self, key: &str) -> Vec<Queued> {
        self.ready.retain(|ready| ready != key);
        let drained: Vec<_> = self.lanes.remove(key).into_iter().flatten().collect();
        for queued in &drained {
            self.settle(queued.position);
        }
        drained
    }

    /// Settles an event that was taken out and whose lane was drained.
    pub(crate) fn settle(&mut self, position: i64) {
        if let Ok(place) = self.batches.binary_search_by_key(&position, |batch| batch.position) {
            self.batches[place].open -= 1;
            self.open -= 1;
        }
        self.advance();
    }

    /// The keys of order in the window.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.lanes.keys()
    }

    /// The last batch before which, and with which, everything is settled.
    pub(crate) fn settled(&self) -> i64 {
        self.settled
    }

    /// The last batch that was read.
    pub(crate) fn read(&self) -> i64 {
        self.read
    }

    /// Events that are not settled.
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// Batches that are read and not behind the settled position.
    pub(crate) fn batches(&self) -> usize {
        self.batches.len()
    }

    fn advance(&mut self) {
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.open == 0) {
            self.settled = batch.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::builders::batch_of;

    fn window(batches: &[(i64, &[&str])]) -> Window {
        let mut window = Window::after(0);
        for (position, keys) in batches {
            window.push(batch_of(*position, keys), |_| true);
        }
        window
    }

    fn ids(window: &mut Window) -> Vec<String> {
        std::iter::from_fn(|| window.next()).map(|queued| queued.event.id).collect()
    }

    #[test]
    fn one_event_of_a_key_is_on_its_way_at_a_time() {
        let mut window = window(&[(1, &["ann", "ann", "bob"]), (2, &["ann"])]);

        let first = window.next().unwrap();
        assert_eq!(first.event.id, "evt_1_0");
        assert_eq!(ids(&mut window), ["evt_1_2"]);
        window.delivered(&first);

        assert_eq!(ids(&mut window), ["evt_1_1"]);
    }

    #[test]
    fn the_position_is_that_of_the_last_batch_before_one_that_is_open() {
        let mut window = window(&[(1, &["ann"]), (2, &["bob"]), (3, &[]), (4, &["eve"])]);
        let (ann, bob) = (window.next().unwrap(), window.next().unwrap());

        window.delivered(&bob);
        assert_eq!((window.settled(), window.len()), (0, 2));
        window.delivered(&ann);

        assert_eq!((window.settled(), window.read(), window.len()), (3, 4, 1));
    }

    #[test]
    fn an_event_that_is_put_back_is_sent_before_those_behind_it() {
        let mut window = window(&[(1, &["ann", "ann"])]);
        let first = window.next().unwrap();

        window.put_back(first.clone());

        assert_eq!(window.next(), Some(first));
        assert_eq!(window.next(), None);
    }

    #[test]
    fn a_drained_lane_is_settled_and_a_later_event_of_its_key_is_sent() {
        let mut window = window(&[(1, &["ann", "ann", "ann"])]);
        let first = window.next().unwrap();

        assert_eq!(window.drained("ann").len(), 2);
        window.settle(first.position);
        assert_eq!(window.settled(), 1);
        window.push(batch_of(2, &["ann"]), |_| true);

        assert_eq!(ids(&mut window), ["evt_2_0"]);
    }

    #[test]
    fn a_batch_that_was_read_before_is_ignored() {
        let mut window = window(&[(1, &["ann"]), (2, &["bob"])]);

        window.push(batch_of(2, &["bob"]), |_| true);

        assert_eq!(window.len(), 2);
    }

    proptest! {
        #[test]
        fn in_any_order_of_answers_every_event_is_sent_once_and_in_order_within_its_key(
            batches in prop::collection::vec(prop::collection::vec(0_u8..4, 0..6), 1..12),
            answers in prop::collection::vec((0_usize..64, 0_u8..4), 1..400),
        ) {
            let mut window = Window::after(0);
            let mut expected: HashMap<String, Vec<String>> = HashMap::new();
            for (position, keys) in (1..).zip(&batches) {
                let keys: Vec<_> = keys.iter().map(|key| format!("buyer {key}")).collect();
                let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                let batch = batch_of(position, &keys);
                for event in &batch.events {
                    expected.entry(event.order_key.clone()).or_default().push(event.id.clone());
                }
                window.push(batch, |_| true);
            }
            let (mut on_their_way, mut sent) = (Vec::new(), HashMap::<String, Vec<String>>::new());

            for (which, fate) in answers.into_iter().chain([(0, 0); 200]) {
                on_their_way.extend(std::iter::from_fn(|| window.next()));
                if on_their_way.is_empty() {
                    break;
                }
                let queued: Queued = on_their_way.swap_remove(which % on_their_way.len());
                if fate == 3 {
                    window.put_back(queued);
                } else {
                    window.delivered(&queued);
                    sent.entry(queued.event.order_key).or_default().push(queued.event.id);
                }
            }

            prop_assert_eq!(sent, expected);
            prop_assert_eq!(window.settled(), i64::try_from(batches.len()).unwrap());
            prop_assert_eq!((window.len(), window.batches()), (0, 0));
        }
    }
}
