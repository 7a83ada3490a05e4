//! Waiting by looking again, never by guessing how long something takes.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

/// Longest wait for anything in these tests; far longer than anything should take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(15);

/// Probes until there is something to show, and fails the test when patience is over.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Probes until it is true.
pub(crate) async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    eventually(what, async || probe().await.then_some(())).await;
}

/// Runs all tasks at once and gives back what they came to, in any order.
pub(crate) async fn at_once<T, F>(tasks: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    tasks.into_iter().collect::<JoinSet<T>>().join_all().await
}
