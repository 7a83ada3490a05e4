//! A pause that advances the fake clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::clock::FakeClock;
use crate::application::ports::Pause;

/// Every pause advances this clock.
pub(crate) struct FakePause(pub(crate) Arc<FakeClock>);

#[async_trait]
impl Pause for FakePause {
    async fn pause(&self, time: Duration) {
        self.0.advance(time);
    }
}
