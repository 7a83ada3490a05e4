//! A thread of low priority, for work that can wait while requests need the processors: sending webhooks.
//!
//! On a machine that a sale keeps busy, the sending of each purchase would take about as much time as the purchase itself. At this
//! priority it gets what is left, and a small part if nothing is; what waits meanwhile is in the outbox.

use std::sync::Arc;
use std::{io, thread};

use async_trait::async_trait;
use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::application::ports::{
    EndpointAnswer, Message, NoAnswer, Target, UnfitUrl, WebhookSender,
};

/// The nice value: about a tenth of the weight of other threads.
const NICE: i32 = 10;

/// A thread with a runtime of its own. It ends when this is dropped.
pub(super) struct LowPriority {
    runtime: Handle,
    _ends_the_thread: DropGuard,
}

impl LowPriority {
    /// Starts the thread.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Of this thread alone, because Linux has no priority of a process.
            if let Err(error) = setpriority_process(None, NICE) {
                tracing::warn!(%error, "a thread for background work has the priority of requests");
            }
            runtime.block_on(stopped.cancelled());
        })?;
        Ok(Self { runtime: handle, _ends_the_thread: stop.drop_guard() })
    }

    /// Runs a task there. It is aborted if this is dropped; `None` if the thread has ended.
    async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        AbortOnDropHandle::new(self.runtime.spawn(task)).await.ok()
    }
}

/// Sends on a thread of low priority, where the connections are as well.
pub(super) struct LowPrioritySender<S> {
    sender: Arc<S>,
    thread: LowPriority,
}

impl<S> LowPrioritySender<S> {
    pub(super) fn new(sender: S, thread: LowPriority) -> Self {
        Self { sender: Arc::new(sender), thread }
    }
}

#[async_trait]
impl<S: WebhookSender + 'static> WebhookSender for LowPrioritySender<S> {
    fn endpoint(&self, url: &str) -> Result<String, UnfitUrl> {
        self.sender.endpoint(url)
    }

    async fn send(&self, target: &Target, message: &Message) -> Result<EndpointAnswer, NoAnswer> {
        let (sender, target, message) = (Arc::clone(&self.sender), target.clone(), message.clone());
        let sent = self.thread.run(async move { sender.send(&target, &message).await });
        sent.await.unwrap_or_else(|| Err(NoAnswer("this process stops".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::getpriority_process;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_on_it_has_a_low_priority_and_the_rest_keeps_its_own() {
        let own = getpriority_process(None).unwrap();
        let low = LowPriority::start("low").unwrap();

        let there = low.run(async { getpriority_process(None).unwrap() }).await;

        assert_eq!(there, Some(NICE.max(own)));
        assert_eq!(getpriority_process(None).unwrap(), own);
    }

    #[tokio::test]
    async fn what_is_waited_for_no_more_is_aborted() {
        let low = LowPriority::start("low").unwrap();
        let (held, dropped) = oneshot::channel::<()>();
        let endless = low.run(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });

        assert!(tokio::time::timeout(Duration::from_millis(50), endless).await.is_err());

        assert!(dropped.await.is_err());
    }
}
