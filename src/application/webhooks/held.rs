//! Which keys of order wait for a retry: an event of such a key must not be sent before those that wait.

use std::collections::{HashMap, HashSet};

/// Events that wait, by their key of order.
#[derive(Debug, Default)]
pub(crate) struct Held {
    events: HashMap<String, HashSet<String>>,
    len: usize,
}

impl Held {
    /// An event waits from now on. `false` if it waits already.
    pub(crate) fn hold(&mut self, key: &str, event: &str) -> bool {
        let events = self.events.entry(key.to_owned()).or_default();
        let is_new = events.insert(event.to_owned());
        self.len += usize::from(is_new);
        is_new
    }

    /// An event waits no more.
    pub(crate) fn release(&mut self, key: &str, event: &str) {
        let Some(events) = self.events.get_mut(key) else { return };
        self.len -= usize::from(events.remove(event));
        if events.is_empty() {
            self.events.remove(key);
        }
    }

    /// Whether an event of this key waits.
    pub(crate) fn holds(&self, key: &str) -> bool {
        self.events.contains_key(key)
    }

    /// How many events wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_until_its_last_event_is_released() {
        let mut held = Held::default();
        assert!(held.hold("ann", "1") && held.hold("ann", "2") && held.hold("bob", "3"));
        assert!(!held.hold("ann", "1"));

        held.release("ann", "1");
        assert!(held.holds("ann") && held.len() == 2);
        held.release("ann", "2");
        held.release("ann", "2");

        assert!(!held.holds("ann") && held.holds("bob") && held.len() == 1);
    }
}
