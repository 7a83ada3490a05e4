//! The database's clock, measured from here: an offset to a clock that only goes forward, and the offset's error.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::application::ports::Clock;
use crate::domain::sale::ClockReading;

/// What scheduling between a reading and its use may cost, added to every error.
const MARGIN: Duration = Duration::from_millis(1);
/// Drift of a quartz clock that is not disciplined: 200 parts in a million.
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
    /// Monotonic time that belongs to `at`.
    monotonic: Duration,
    error: Duration,
}

impl DatabaseClock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), measured: RwLock::default() }
    }

    /// Takes in what the database answered to a question that was asked and answered at these monotonic times.
    ///
    /// The answer was true somewhere in between, so the error is half of the round trip (Cristian 1989).
    pub(crate) fn measure(&self, asked: Duration, answer: DateTime<Utc>, answered: Duration) {
        let half = answered.saturating_sub(asked) / 2;
        let measurement = Measurement { at: answer, monotonic: asked + half, error: half + MARGIN };
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
        let asked = clock.monotonic();
        let answer = DateTime::UNIX_EPOCH;

        clock.measure(asked, answer, asked + Duration::from_secs(2));

        let reading = clock.database().unwrap();
        assert!(reading.error >= Duration::from_secs(1));
        let difference = (reading.at - answer).abs().to_std().unwrap();
        assert!(difference <= reading.error, "{difference:?} within {:?}", reading.error);
    }
}
