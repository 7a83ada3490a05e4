//! A clock that only the test advances.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::application::ports::Clock;
use crate::domain::sale::ClockReading;

/// The database's true time, and an instance's estimate of it.
pub(crate) struct FakeClock {
    state: Mutex<State>,
}

struct State {
    truth: DateTime<Utc>,
    monotonic: Duration,
    /// How far the estimate is ahead of the truth, and its error bound; `None` before the first measurement.
    estimate: Option<(chrono::Duration, Duration)>,
}

impl FakeClock {
    /// A clock at this moment, with an exact estimate.
    pub(crate) fn at(truth: DateTime<Utc>) -> Arc<Self> {
        let estimate = Some((chrono::Duration::zero(), Duration::ZERO));
        Arc::new(Self {
            state: Mutex::new(State { truth, monotonic: Duration::from_mins(1), estimate }),
        })
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap();
        state.truth += by;
        state.monotonic += by;
    }

    /// Changes the database's time; the monotonic time stays.
    pub(crate) fn set(&self, truth: DateTime<Utc>) {
        self.state.lock().unwrap().truth = truth;
    }

    /// Makes the estimate `ahead` seconds ahead of the truth (negative: behind), with this error bound.
    pub(crate) fn set_offset(&self, ahead: i64, error: Duration) {
        self.state.lock().unwrap().estimate = Some((chrono::Duration::seconds(ahead), error));
    }

    /// Removes the estimate, as before the first measurement.
    pub(crate) fn set_unmeasured(&self) {
        self.state.lock().unwrap().estimate = None;
    }

    /// The database's true time.
    pub(crate) fn truth(&self) -> DateTime<Utc> {
        self.state.lock().unwrap().truth
    }
}

impl Clock for FakeClock {
    fn database(&self) -> Option<ClockReading> {
        let state = self.state.lock().unwrap();
        let (ahead, error) = state.estimate?;
        Some(ClockReading { at: state.truth + ahead, error })
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap().monotonic
    }
}
