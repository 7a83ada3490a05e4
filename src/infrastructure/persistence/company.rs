//! Whether others write the same rows at this time: other instances that sell the same sale, mostly.
//!
//! Nobody announces them. A writer meets them where a batch lost a race, and for a while all writers of this instance reckon
//! with them: they find items by their keys ([`Mode::Among`](super::batches::Mode)), and let more requests gather, because a
//! batch has its fixed price at PostgreSQL, which has several writers to serve.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Others are reckoned with for so long after they were met.
const STAYS: Duration = Duration::from_secs(1);
/// Requests gather for so long before a batch. Longer fills batches hardly more, and callers wait.
const GATHER: Duration = Duration::from_millis(2);

/// When others were met last.
#[derive(Debug)]
pub(super) struct Company {
    origin: Instant,
    /// Milliseconds since the origin; 0 is never.
    met: AtomicU64,
}

impl Default for Company {
    fn default() -> Self {
        Self { origin: Instant::now(), met: AtomicU64::new(0) }
    }
}

impl Company {
    /// A race was lost.
    pub(super) fn meet(&self) {
        self.met.store(self.now().max(1), Ordering::Relaxed);
    }

    pub(super) fn is_here(&self) -> bool {
        let met = self.met.load(Ordering::Relaxed);
        met > 0 && u128::from(self.now().saturating_sub(met)) < STAYS.as_millis()
    }

    /// How long requests gather before a batch: not at all for a writer that is alone.
    pub(super) fn gathers_for(&self) -> Duration {
        if self.is_here() { GATHER } else { Duration::ZERO }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
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

        let long_ago = Instant::now().checked_sub(STAYS * 2).unwrap();
        let company = Company { origin: long_ago, met: AtomicU64::new(1) };
        assert_eq!(company.gathers_for(), Duration::ZERO);
    }
}
