//! How far a replica has replayed the primary's write-ahead log, as far as is known.
//!
//! As long as a standby runs, it never goes back: a later reader sees at least as much. One that restarts accepts reads
//! from a position that may be far behind what it had replayed before, so what is known counts for one run of the server only.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One run of the server: from when it was first reached until it has restarted, or may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Run(u64);

/// The highest position that was seen in a run, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) run: Run,
    pub(crate) position: i64,
}

/// What is known of a replica.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    known: Mutex<Known>,
}

impl Replayed {
    /// What is known at this moment. Who asks the server takes this first.
    pub(crate) fn known(&self) -> Known {
        *self.lock()
    }

    /// Records the server's answer to a question. `before` is what was known when it was asked.
    pub(crate) fn record(&self, before: Known, position: i64) {
        let mut known = self.lock();
        if known.run != before.run {
            // The answer may be that of the run that has ended.
            return;
        }
        if position < before.position {
            known.begin_run();
            known.position = position;
        } else {
            known.position = known.position.max(position);
        }
    }

    /// Forgets the position: the server has another history, or may have restarted.
    pub(crate) fn forget(&self) {
        self.lock().begin_run();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn begin_run(&mut self) {
        *self = Self { run: Run(self.run.0 + 1), position: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: i64) -> Replayed {
        let replayed = Replayed::default();
        replayed.record(replayed.known(), position);
        replayed
    }

    #[test]
    fn answers_that_overtake_each_other_are_no_restart_and_the_highest_counts() {
        let replayed = at(10);
        let before = replayed.known();

        replayed.record(before, 30);
        replayed.record(before, 20);

        assert_eq!(replayed.known(), Known { position: 30, ..before });
    }

    #[test]
    fn a_server_that_is_behind_what_was_known_when_it_was_asked_has_restarted() {
        let replayed = at(30);
        let before = replayed.known();

        replayed.record(before, 20);

        assert_eq!(replayed.known().position, 20);
        assert_ne!(replayed.known().run, before.run);
    }

    #[test]
    fn an_answer_of_a_run_that_has_ended_is_not_recorded() {
        let replayed = at(30);
        let before = replayed.known();

        replayed.forget();
        replayed.record(before, 40);

        assert_eq!(replayed.known().position, 0);
        assert_ne!(replayed.known().run, before.run);
    }
}
