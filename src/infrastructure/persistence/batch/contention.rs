//! Whether others write at this time: other instances, mostly.
//!
//! Nobody announces them. A writer meets them where a batch lost a race for its rows: then, for a while, all writers of this
//! instance trust nothing they remember, and find items by their keys ([`Mode::Among`](super::splitting::Mode)). Or somebody
//! notices that others write beside them, be it other rows: then they only let more requests gather, because a batch has its
//! fixed price at PostgreSQL, which has several writers to serve.

use std::time::Duration;

use crate::infrastructure::persistence::pool::last_time::LastTime;

/// Others are reckoned with for so long after they were met or noticed.
const STAYS: Duration = Duration::from_secs(1);
/// Requests gather for so long after a batch. Longer fills batches hardly more, and callers wait.
const GATHER: Duration = Duration::from_millis(2);

/// When others were there last.
#[derive(Debug, Default)]
pub(crate) struct Company {
    met: LastTime,
    noticed: LastTime,
}

impl Company {
    /// A race was lost.
    pub(crate) fn meet(&self) {
        self.met.note();
    }

    /// Somebody else writes, not necessarily the same rows.
    pub(crate) fn notice(&self) {
        self.noticed.note();
    }

    /// Whether others change the rows that this instance reads and remembers.
    pub(crate) fn is_in_the_way(&self) -> bool {
        is_recent(&self.met)
    }

    /// How long requests gather after a batch: not at all where the writer is alone.
    pub(crate) fn gathers_for(&self) -> Duration {
        if is_recent(&self.met) || is_recent(&self.noticed) { GATHER } else { Duration::ZERO }
    }
}

fn is_recent(last: &LastTime) -> bool {
    last.elapsed().is_some_and(|ago| ago < STAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_met_is_reckoned_with_for_a_while() {
        let company = Company::default();
        assert!(company.gathers_for().is_zero() && !company.is_in_the_way());

        company.meet();
        assert!(company.gathers_for() == GATHER && company.is_in_the_way());

        let company = Company { met: LastTime::past(STAYS), ..Company::default() };
        assert!(company.gathers_for().is_zero() && !company.is_in_the_way());
    }

    #[test]
    fn who_was_only_noticed_is_not_in_the_way() {
        let company = Company::default();
        company.notice();

        assert!(company.gathers_for() == GATHER && !company.is_in_the_way());

        let company = Company { noticed: LastTime::past(STAYS), ..Company::default() };
        assert!(company.gathers_for().is_zero());
    }
}
