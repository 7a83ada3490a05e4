//! Waits by moving the clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::FakeClock;
use crate::application::ports::Pause;

/// Whoever pauses lets this clock go on.
pub(crate) struct FakePause(pub(crate) Arc<FakeClock>);

#[async_trait]
impl Pause for FakePause {
    async fn pause(&self, time: Duration) {
        self.0.advance(time);
    }
}
