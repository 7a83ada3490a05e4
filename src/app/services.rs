//! Background services: each runs until it is told to stop, under one tracker. A chore that fails is tried again at its
//! next turn; the log is told when it begins to fail and when it works again, not each time.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    pub(crate) fn every<F, R, E>(&self, name: &'static str, interval: Duration, mut chore: F)
    where
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
