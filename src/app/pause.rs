//! Pauses by the runtime's clock.

use std::time::Duration;

use async_trait::async_trait;

use crate::application::ports::Pause;

/// Sleeps.
pub(crate) struct TokioPause;

#[async_trait]
impl Pause for TokioPause {
    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::testing::contracts::pause::it_returns_when_the_time_is_over;

    #[tokio::test(start_paused = true)]
    async fn a_pause_lasts_as_long_as_requested() {
        let origin = Instant::now();

        it_returns_when_the_time_is_over(&TokioPause, || origin.elapsed()).await;
    }
}
