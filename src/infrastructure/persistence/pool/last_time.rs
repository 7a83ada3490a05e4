//! When something last happened, recorded and read by many tasks at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The last time, to the millisecond, or never.
#[derive(Debug)]
pub(crate) struct LastTime {
    origin: Instant,
    /// Milliseconds since the origin; 0 is never.
    at: AtomicU64,
}

impl Default for LastTime {
    fn default() -> Self {
        Self { origin: Instant::now(), at: AtomicU64::new(0) }
    }
}

impl LastTime {
    /// It happened now.
    pub(crate) fn record(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(now.max(1), Ordering::Relaxed);
    }

    /// How long ago it last happened; `None` if never.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed);
        (at > 0).then(|| self.origin.elapsed().saturating_sub(Duration::from_millis(at)))
    }

    /// It has never happened.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    /// One that last happened this long ago.
    #[cfg(test)]
    pub(crate) fn past(ago: Duration) -> Self {
        let before = ago + Duration::from_millis(1);
        let origin = Instant::now().checked_sub(before).expect("the machine runs for longer");
        Self { origin, at: AtomicU64::new(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_until_it_is_recorded() {
        let last = LastTime::default();
        assert_eq!(last.elapsed(), None);

        last.record();
        assert!(last.elapsed().is_some_and(|ago| ago < Duration::from_mins(1)));
        assert!(LastTime::past(Duration::from_secs(9)).elapsed() >= Some(Duration::from_secs(9)));
    }
}
