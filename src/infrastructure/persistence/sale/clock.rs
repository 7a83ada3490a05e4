//! The database's clock, as measured by this instance: an offset to the monotonic clock, and the offset's error.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::application::ports::Clock;
use crate::domain::sale::ClockReading;

/// Scheduling delay between a reading and its use, added to every error.
const MARGIN: Duration = Duration::from_millis(1);
/// Drift of an undisciplined quartz clock: 200 parts per million.
const DRIFT_DIVISOR: u32 = 5_000;

/// Keeps the latest measurement.
#[derive(Debug)]
pub(crate) struct DatabaseClock {
    origin: Instant,
    measured: RwLock<Option<Measurement>>,
}

#[derive(Debug, Clone, Copy)]
struct Measurement {
    at: DateTime<Utc>,
    /// The monotonic time at `at`.
    monotonic: Duration,
    error: Duration,
}

impl DatabaseClock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), measured: RwLock::default() }
    }

    /// Records the database's answer to a query that was sent, and answered, at these monotonic times.
    ///
    /// The database read its clock somewhere in between, so the error is half of the round trip (Cristian 1989).
    pub(crate) fn measure(&self, sent: Duration, answer: DateTime<Utc>, received: Duration) {
        let half = received.saturating_sub(sent) / 2;
        let measurement = Measurement { at: answer, monotonic: sent + half, error: half + MARGIN };
        *self.measured.write().unwrap_or_else(PoisonError::into_inner) = Some(measurement);
    }
}

impl Clock for DatabaseClock {
    fn database(&self) -> Option<ClockReading> {
        let measured = (*self.measured.read().unwrap_or_else(PoisonError::into_inner))?;
        let since = self.monotonic().saturating_sub(measured.monotonic);
        Some(ClockReading {
            at: measured.at.checked_add_signed(chrono::Duration::from_std(since).ok()?)?,
            error: measured.error + since / DRIFT_DIVISOR,
        })
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_a_measurement_nothing_is_known() {
        assert_eq!(DatabaseClock::new().database(), None);
    }

    #[test]
    fn the_error_covers_the_whole_round_trip() {
        let clock = DatabaseClock::new();
        let sent = clock.monotonic();
        let answer = DateTime::UNIX_EPOCH;

        clock.measure(sent, answer, sent + Duration::from_secs(2));

        let reading = clock.database().unwrap();
        assert!(reading.error >= Duration::from_secs(1));
        let difference = (reading.at - answer).abs().to_std().unwrap();
        assert!(difference <= reading.error, "{difference:?} within {:?}", reading.error);
    }
}
