//! Work that continues when its caller is dropped (promise I9).
//!
//! A handler's future is dropped when its client hangs up. A task for each request would protect its work, at the price of an
//! allocation, a queue and a wake-up. Here the work runs in the handler, and becomes a task only if it is dropped unfinished.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The work panicked. Its database transaction was rolled back.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub(crate) struct Panicked(String);

/// Runs work to its end: in the caller or, if this future is dropped, as a task. The tracker counts it from the start.
pub(crate) struct DetachOnDrop<F: Future + Send + Unpin + 'static>
where
    F::Output: Send,
{
    /// Taken out while it is polled, because work that has panicked must not be polled again.
    work: Option<F>,
    tasks: TaskTracker,
    _counted: TaskTrackerToken,
}

impl<F: Future + Send + Unpin + 'static> DetachOnDrop<F>
where
    F::Output: Send,
{
    pub(crate) fn new(work: F, tasks: &TaskTracker) -> Self {
        Self { work: Some(work), tasks: tasks.clone(), _counted: tasks.token() }
    }
}

impl<F: Future + Send + Unpin + 'static> Future for DetachOnDrop<F>
where
    F::Output: Send,
{
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut work) = self.work.take() else {
            return Poll::Ready(Err(Panicked("polled after completion".to_owned())));
        };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut work).poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                self.work = Some(work);
                Poll::Pending
            }
            Err(panic) => Poll::Ready(Err(Panicked(message_of(&*panic)))),
        }
    }
}

impl<F: Future + Send + Unpin + 'static> Drop for DetachOnDrop<F>
where
    F::Output: Send,
{
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            self.tasks.spawn_on(work, &runtime);
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_runs_in_its_caller() {
        let tasks = TaskTracker::new();

        let result = DetachOnDrop::new(Box::pin(async { 7 }), &tasks).await;

        assert_eq!((result.unwrap(), tasks.len()), (7, 0));
    }

    #[tokio::test]
    async fn work_whose_caller_goes_away_is_finished_and_counted_until_then() {
        let tasks = TaskTracker::new();
        let (go, gone) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let work = async move {
            let _ = gone.await;
            let _ = done.send(());
        };
        let mut waiting = DetachOnDrop::new(Box::pin(work), &tasks);
        assert!(futures_util::poll!(&mut waiting).is_pending());

        drop(waiting);
        let counted = tasks.len();
        go.send(()).unwrap();

        is_done.await.unwrap();
        tasks.close();
        tasks.wait().await;
        assert!(counted > 0);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_nothing_is_left_running() {
        let tasks = TaskTracker::new();
        let fails = async { assert_eq!(1, 2, "a test's panic") };

        let result = DetachOnDrop::new(Box::pin(fails), &tasks).await;

        assert!(result.unwrap_err().to_string().contains("a test's panic"));
        assert_eq!(tasks.len(), 0);
    }
}
