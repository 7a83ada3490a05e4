//! What every [`Pause`] guarantees.

use std::time::Duration;

use crate::application::ports::Pause;

/// `now` returns the time by which the pause is measured.
pub(crate) async fn it_returns_when_the_time_is_over(
    pause: &dyn Pause,
    now: impl Fn() -> Duration,
) {
    let before = now();

    pause.pause(Duration::from_secs(7)).await;

    assert!(now() >= before + Duration::from_secs(7));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::Clock;
    use crate::testing::builders::at;
    use crate::testing::fakes::{FakeClock, FakePause};

    #[tokio::test]
    async fn the_fake_lets_time_pass() {
        let clock = FakeClock::at(at(1_000));

        it_returns_when_the_time_is_over(&FakePause(clock.clone()), || clock.monotonic()).await;
    }
}
