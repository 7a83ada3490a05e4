//! Whether other instances write at the same time.
//!
//! No instance announces itself. A batch that lost a race for its rows has detected a conflict: for a second, all batches of this
//! instance read fresh rows and find items by their keys ([`BatchMode::Contended`](super::transaction::BatchMode)). An instance that
//! writes other rows is detected too (`checkout/attempt_ids.rs`): then requests only gather for a moment, because a batch has a fixed
//! price, and PostgreSQL now pays it for several writers.

use std::time::Duration;

use crate::infrastructure::persistence::pool::last_time::LastTime;

/// How long other writers are assumed after they were last detected.
const DETECTED_FOR: Duration = Duration::from_secs(1);
/// How long requests gather after a batch. A longer time hardly fills the batches further, and callers wait.
const GATHER: Duration = Duration::from_millis(2);

/// How long batches read every row after a remembered row differed from the stored one.
const READS_FOR: Duration = Duration::from_millis(200);

/// When other writers were last detected.
#[derive(Debug, Default)]
pub(crate) struct ContentionTracker {
    conflict: LastTime,
    other_writer: LastTime,
    wrong_memory: LastTime,
}

impl ContentionTracker {
    /// A batch lost a race for its rows.
    pub(crate) fn record_conflict(&self) {
        self.conflict.record();
    }

    /// Another instance writes, not necessarily the same rows.
    pub(crate) fn record_other_writer(&self) {
        self.other_writer.record();
    }

    /// Whether others change the rows that this instance reads and remembers.
    pub(crate) fn is_contended(&self) -> bool {
        is_recent(&self.conflict)
    }

    /// A remembered row differs from the stored one: the buyer used another instance meanwhile, or this instance was restarted.
    pub(crate) fn record_wrong_memory(&self) {
        self.wrong_memory.record();
    }

    /// Whether remembered rows are probably equal to the stored ones.
    pub(crate) fn may_recall(&self) -> bool {
        self.is_alone() && self.wrong_memory.elapsed().is_none_or(|ago| ago >= READS_FOR)
    }

    /// How long requests gather after a batch: not at all while this instance writes alone.
    pub(crate) fn gather_delay(&self) -> Duration {
        if self.is_alone() { Duration::ZERO } else { GATHER }
    }

    /// Nothing was detected.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        for detected in [&self.conflict, &self.other_writer, &self.wrong_memory] {
            detected.forget();
        }
    }

    fn is_alone(&self) -> bool {
        !is_recent(&self.conflict) && !is_recent(&self.other_writer)
    }
}

fn is_recent(last: &LastTime) -> bool {
    last.elapsed().is_some_and(|ago| ago < DETECTED_FOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_conflict_batches_are_contended_for_a_while() {
        let contention = ContentionTracker::default();
        assert!(contention.gather_delay().is_zero() && !contention.is_contended());

        contention.record_conflict();
        assert!(contention.gather_delay() == GATHER && contention.is_contended());

        let conflict = LastTime::past(DETECTED_FOR);
        let contention = ContentionTracker { conflict, ..ContentionTracker::default() };
        assert!(contention.gather_delay().is_zero() && !contention.is_contended());
    }

    #[test]
    fn nothing_is_recalled_beside_other_writers_and_for_a_while_after_a_mistake() {
        let contention = ContentionTracker::default();
        assert!(contention.may_recall());

        contention.record_wrong_memory();
        assert!(!contention.may_recall() && contention.gather_delay().is_zero());

        let wrong_memory = LastTime::past(READS_FOR);
        let contention = ContentionTracker { wrong_memory, ..ContentionTracker::default() };
        assert!(contention.may_recall());

        contention.record_other_writer();
        assert!(!contention.may_recall());
    }

    #[test]
    fn beside_a_writer_of_other_rows_requests_gather_without_contention() {
        let contention = ContentionTracker::default();
        contention.record_other_writer();

        assert!(contention.gather_delay() == GATHER && !contention.is_contended());

        let other_writer = LastTime::past(DETECTED_FOR);
        let contention = ContentionTracker { other_writer, ..ContentionTracker::default() };
        assert!(contention.gather_delay().is_zero());
    }
}
