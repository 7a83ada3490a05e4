//! The tasks of the service, in groups that are stopped one after the other.
//!
//! A background task that fails is repeated at its next interval; the log reports when it begins to fail and when it works
//! again, not each failure. At the stop it is dropped where it stands, because no caller waits for what it does: a sale of a
//! million items that is being written would take all the time that accepted requests have left.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::application::ports::Causes;

/// Delay between the call for a task and its run.
const CALL_DELAY: Duration = Duration::from_millis(250);

/// All groups, in the order in which they end.
#[derive(Default)]
pub(crate) struct TaskGroups {
    /// Listeners and connections.
    pub(crate) servers: TaskGroup,
    /// Requests with effects, which outlive their connections.
    pub(crate) requests: TaskTracker,
    /// Job workers, which stop while requests are still served.
    pub(crate) jobs: TaskGroup,
    /// Background tasks, which end before the writers that they use.
    pub(crate) background: BackgroundTasks,
    /// Batch writers and the cache writer.
    pub(crate) writers: TaskGroup,
    /// Metrics, health checks, and the connection probe of PostgreSQL.
    pub(crate) monitoring: TaskGroup,
}

/// Tasks that are stopped together.
#[derive(Clone, Default)]
pub(crate) struct TaskGroup {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl TaskGroup {
    /// Tracker and stop token, for components that spawn their own tasks.
    pub(crate) fn scope(&self) -> (TaskTracker, CancellationToken) {
        (self.tasks.clone(), self.stop.clone())
    }

    /// Runs a task with a loop of its own, which ends when its stop token is cancelled.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Tells all tasks to stop.
    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops all tasks and waits until they have ended.
    pub(crate) async fn stop(&self) {
        self.begin_stop();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Tasks that no caller waits for. The stop drops each of them at its next `.await`, however long its work would still take: a
/// transaction is rolled back, and everything else can be interrupted and done again. There is no way to run one that the
/// stop has to wait for.
#[derive(Clone, Default)]
pub(crate) struct BackgroundTasks {
    group: TaskGroup,
}

impl BackgroundTasks {
    /// Is cancelled when the tasks are stopped.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.group.stop.clone()
    }

    /// Runs a task with a loop of its own until the stop.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stopping();
        self.group.run(async move { stop.run_until_cancelled(task).await.unwrap_or_default() });
    }

    /// The same on another runtime.
    pub(crate) fn run_on(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stopping();
        let task = async move { stop.run_until_cancelled(task).await.unwrap_or_default() };
        self.group.tasks.spawn_on(task, runtime);
    }

    /// Runs `task` on `subject` at every interval, the first time at once.
    pub(crate) fn every<T, F, R, E>(
        &self,
        name: &'static str,
        interval: Duration,
        subject: &Arc<T>,
        task: F,
    ) where
        T: ?Sized + Send + Sync + 'static,
        F: Fn(Arc<T>) -> R + Send + 'static,
        R: Future<Output = Result<(), E>> + Send,
        E: std::error::Error + Send + 'static,
    {
        let subject = Arc::clone(subject);
        let task = move || task(Arc::clone(&subject));
        self.every_or_when(name, interval, std::future::pending, task);
    }

    /// Runs `task` at every interval, and in between [`CALL_DELAY`] after `call` completes; the delay bounds the rate.
    pub(crate) fn every_or_when<C, W, F, R, E>(
        &self,
        name: &'static str,
        interval: Duration,
        mut call: C,
        mut task: F,
    ) where
        C: FnMut() -> W + Send + 'static,
        W: Future<Output = ()> + Send,
        F: FnMut() -> R + Send + 'static,
        R: Future<Output = Result<(), E>> + Send,
        E: std::error::Error + Send + 'static,
    {
        let stop = self.stopping();
        self.group.run(async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut is_failing = false;
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                    () = async {
                        call().await;
                        tokio::time::sleep(CALL_DELAY).await;
                    } => ticks.reset(),
                }
                let Some(result) = stop.run_until_cancelled(task()).await else {
                    tracing::info!(task = name, "background task abandoned");
                    return;
                };
                match &result {
                    Ok(()) if is_failing => {
                        tracing::info!(task = name, "background task works again");
                    }
                    Err(error) if !is_failing => {
                        let causes = Causes(error);
                        tracing::warn!(task = name, error = %causes, "background task fails");
                    }
                    Ok(()) | Err(_) => {}
                }
                is_failing = result.is_err();
            }
        });
    }

    /// Drops all tasks and waits until they have ended.
    pub(crate) async fn stop(&self) {
        self.group.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::{Notify, mpsc};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_called_task_runs_before_its_interval_which_then_starts_anew() {
        const INTERVAL: Duration = Duration::from_hours(1);
        let (tasks, call, (runs, mut ran)) =
            (BackgroundTasks::default(), Arc::new(Notify::new()), mpsc::unbounded_channel());
        let begin = Instant::now();
        let called = Arc::clone(&call);
        let is_called = move || {
            let called = Arc::clone(&called);
            async move { called.notified().await }
        };
        tasks.every_or_when("dishes", INTERVAL, is_called, move || {
            let _ = runs.send(begin.elapsed());
            async { Ok::<_, Infallible>(()) }
        });

        assert_eq!(ran.recv().await, Some(Duration::ZERO));
        call.notify_one();
        assert_eq!(ran.recv().await, Some(CALL_DELAY));
        assert_eq!(ran.recv().await, Some(CALL_DELAY + INTERVAL));
        tasks.stop().await;
    }

    /// Work that never ends by itself, and shows whether it is still there.
    async fn endless(began: Arc<Notify>, _alive: Arc<()>) -> Result<(), Infallible> {
        began.notify_one();
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn the_stop_drops_background_work_that_would_go_on() {
        let (tasks, began, alive) =
            (BackgroundTasks::default(), Arc::new(Notify::new()), Arc::new(()));
        tasks.every("endless", Duration::from_hours(1), &began, {
            let alive = Arc::clone(&alive);
            move |began| endless(began, Arc::clone(&alive))
        });
        began.notified().await;
        let (loops, held) = (Arc::clone(&began), Arc::clone(&alive));
        tasks.run(async move {
            let Ok(()) = endless(loops, held).await;
        });
        began.notified().await;

        let stopped = tokio::time::timeout(Duration::from_mins(10), tasks.stop()).await;

        assert!(stopped.is_ok(), "it waits for work that never ends");
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
