//! The runtime's time, which a test can pause, as clock and as pause.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::application::ports::{Clock, Pause};
use crate::domain::sale::ClockReading;
use crate::testing::builders::at;

/// The runtime's time. The database's begins in 1970.
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    /// A clock that starts now.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }

    /// The database's time.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        at(0) + self.0.elapsed()
    }
}

impl Clock for TokioClock {
    fn database(&self) -> Option<ClockReading> {
        Some(ClockReading { at: self.now(), error: Duration::ZERO })
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

#[async_trait]
impl Pause for TokioClock {
    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
