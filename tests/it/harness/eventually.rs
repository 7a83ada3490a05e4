//! Waiting by asking again, never by guessing how long something takes.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

/// Maximum wait for anything in these tests: a hundred times what it takes, so that only a thing that never happens fails a
/// test, however slow the machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// Pause between two probes.
pub(crate) const PAUSE: Duration = Duration::from_millis(15);

/// Probes until there is a result, and fails the test after [`PATIENCE`].
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting after {PATIENCE:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Probes until the result is true.
pub(crate) async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    eventually(what, async || probe().await.then_some(())).await;
}

/// Runs all tasks concurrently and returns their results, in any order.
pub(crate) async fn at_once<T, F>(tasks: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    tasks.into_iter().collect::<JoinSet<T>>().join_all().await
}
