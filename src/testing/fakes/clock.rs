//! Time that stands still until a test moves it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::application::ports::Clock;
use crate::domain::sale::ClockReading;

/// The database's true time, and what an instance knows of it.
pub(crate) struct FakeClock {
    state: Mutex<State>,
}

struct State {
    truth: DateTime<Utc>,
    monotonic: Duration,
    /// What is known of the truth: how far off the estimate is, and how far it may be off.
    known: Option<(chrono::Duration, Duration)>,
}

impl FakeClock {
    /// It is this moment, and exactly known.
    pub(crate) fn at(truth: DateTime<Utc>) -> Arc<Self> {
        let known = Some((chrono::Duration::zero(), Duration::ZERO));
        Arc::new(Self {
            state: Mutex::new(State { truth, monotonic: Duration::from_mins(1), known }),
        })
    }

    /// Time passes.
    pub(crate) fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap();
        state.truth += by;
        state.monotonic += by;
    }

    /// The database's time is another; no time passes here.
    pub(crate) fn set(&self, truth: DateTime<Utc>) {
        self.state.lock().unwrap().truth = truth;
    }

    /// The estimate is so many seconds ahead of the truth (negative: behind), with this error.
    pub(crate) fn mistake(&self, ahead: i64, error: Duration) {
        self.state.lock().unwrap().known = Some((chrono::Duration::seconds(ahead), error));
    }

    /// The database's clock was not measured yet.
    pub(crate) fn forget(&self) {
        self.state.lock().unwrap().known = None;
    }

    /// The database's time.
    pub(crate) fn truth(&self) -> DateTime<Utc> {
        self.state.lock().unwrap().truth
    }
}

impl Clock for FakeClock {
    fn database(&self) -> Option<ClockReading> {
        let state = self.state.lock().unwrap();
        let (ahead, error) = state.known?;
        Some(ClockReading { at: state.truth + ahead, error })
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap().monotonic
    }
}
