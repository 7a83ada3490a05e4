//! Whether others write the same rows at this time: other instances that sell the same sale, mostly.
//!
//! Nobody announces them. A writer meets them where a batch lost a race, and for a while all writers of this instance reckon
//! with them: they find items by their keys ([`Mode::Among`](super::batches::Mode)), and let more requests gather, because a
//! batch has its fixed price at PostgreSQL, which has several writers to serve.

use std::time::Duration;

use super::last_time::LastTime;

/// Others are reckoned with for so long after they were met.
const STAYS: Duration = Duration::from_secs(1);
/// Requests gather for so long after a batch. Longer fills batches hardly more, and callers wait.
const GATHER: Duration = Duration::from_millis(2);

/// When others were met last.
#[derive(Debug, Default)]
pub(super) struct Company {
    met: LastTime,
}

impl Company {
    /// A race was lost.
    pub(super) fn meet(&self) {
        self.met.note();
    }

    pub(super) fn is_here(&self) -> bool {
        self.met.elapsed().is_some_and(|ago| ago < STAYS)
    }

    /// How long requests gather after a batch: not at all where the writer is alone.
    pub(super) fn gathers_for(&self) -> Duration {
        if self.is_here() { GATHER } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_met_is_reckoned_with_for_a_while() {
        let company = Company::default();
        assert_eq!(company.gathers_for(), Duration::ZERO);

        company.meet();
        assert_eq!(company.gathers_for(), GATHER);

        let company = Company { met: LastTime::past(STAYS) };
        assert_eq!(company.gathers_for(), Duration::ZERO);
    }
}
