//! Waits in tests: for progress, never for a time.

use std::time::Duration;

use tokio::time::Instant;

/// Fails a test that waits for something that never happens. Minutes, so that a slow machine does not fail it.
const DEADLINE: Duration = Duration::from_mins(5);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(2);

/// Checks until the condition holds; panics with `what` after [`DEADLINE`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
