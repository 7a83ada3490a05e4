//! Background services: each runs until it is told to stop, under one tracker. A chore that fails is tried again at its
//! next turn; the log is told when it begins to fail and when it works again, not each time.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A chore that is called for runs after this time.
const CALLED: Duration = Duration::from_millis(250);

/// Runs services.
#[derive(Clone, Default)]
pub(crate) struct Services {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Services {
    /// Tracker and token, for services that bring their own loop.
    pub(crate) fn scope(&self) -> (TaskTracker, CancellationToken) {
        (self.tasks.clone(), self.stop.clone())
    }

    /// Runs a service with a loop of its own.
    pub(crate) fn run(&self, service: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(service);
    }

    /// Runs a chore again and again, at once for the first time.
    pub(crate) fn every<F, R, E>(&self, name: &'static str, interval: Duration, chore: F)
    where
        F: FnMut() -> R + Send + 'static,
        R: Future<Output = Result<(), E>> + Send,
        E: std::fmt::Display + Send,
    {
        self.every_or_when(name, interval, std::future::pending, chore);
    }

    /// Runs a chore again and again, and before its turn when it is called for; then it waits for [`CALLED`] first, so that
    /// it does not run all the time.
    pub(crate) fn every_or_when<C, W, F, R, E>(
        &self,
        name: &'static str,
        interval: Duration,
        mut call: C,
        mut chore: F,
    ) where
        C: FnMut() -> W + Send + 'static,
        W: Future<Output = ()> + Send,
        F: FnMut() -> R + Send + 'static,
        R: Future<Output = Result<(), E>> + Send,
        E: std::fmt::Display + Send,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
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
                        tokio::time::sleep(CALLED).await;
                    } => ticks.reset(),
                }
                let result = chore().await;
                match &result {
                    Ok(()) if is_failing => tracing::info!(chore = name, "chore works again"),
                    Err(error) if !is_failing => {
                        tracing::warn!(chore = name, %error, "chore fails");
                    }
                    Ok(()) | Err(_) => {}
                }
                is_failing = result.is_err();
            }
        });
    }

    /// Tells all services to stop, and waits for them.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use tokio::sync::{Notify, mpsc};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_chore_that_is_called_for_runs_before_its_turn_and_its_turn_begins_anew() {
        const TURN: Duration = Duration::from_hours(1);
        let (services, call, (runs, mut ran)) =
            (Services::default(), Arc::new(Notify::new()), mpsc::unbounded_channel());
        let begin = Instant::now();
        let called = Arc::clone(&call);
        let is_called = move || {
            let called = Arc::clone(&called);
            async move { called.notified().await }
        };
        services.every_or_when("dishes", TURN, is_called, move || {
            let _ = runs.send(begin.elapsed());
            async { Ok::<_, Infallible>(()) }
        });

        assert_eq!(ran.recv().await, Some(Duration::ZERO));
        call.notify_one();
        assert_eq!(ran.recv().await, Some(CALLED));
        assert_eq!(ran.recv().await, Some(CALLED + TURN));
        services.stop().await;
    }
}
