//! A thread of low priority, for work that can wait while requests need the processors: the delivery of events.
//!
//! On a machine that a sale keeps busy, making and sending the event of a purchase takes about as much time as the purchase itself. At
//! this priority it gets what is left, and a small part if nothing is; what waits meanwhile is in the outbox. In a rush,
//! which [`PacedLog`](crate::application::events::PacedLog) knows by how long the thread waits for a processor, less is read.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use async_trait::async_trait;
use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::application::catalogue::Item;
use crate::application::ports::{
    EventBatch, EventLog, EventSubjects, PortError, ProcessorTime, ProcessorTimes,
};
use crate::domain::code::CodeClaim;
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::Sale;

/// The nice value beside requests: about a tenth of the weight of other threads. With less, events would hardly move on a machine that
/// other programs keep busy as well.
const NICE: i32 = 10;

/// What else the process of a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// It serves buyers.
    Requests,
    /// Nothing urgent. The thread keeps the usual priority: with a low one, an endpoint on the same machine would interrupt it all the
    /// time.
    Nothing,
}

/// A thread with a runtime of its own. It ends when this is dropped.
pub(super) struct LowPriority {
    runtime: Handle,
    _ends_the_thread: DropGuard,
}

impl LowPriority {
    /// Starts the thread.
    pub(super) fn start(name: &str, beside: Beside) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Of this thread alone, because Linux has no priority of a process.
            if beside == Beside::Requests
                && let Err(error) = setpriority_process(None, NICE)
            {
                tracing::warn!(%error, "a thread for background work has the priority of requests");
            }
            runtime.block_on(stopped.cancelled());
        })?;
        Ok(Self { runtime: handle, _ends_the_thread: stop.drop_guard() })
    }

    /// Where to start tasks.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a task there. It is aborted if this is dropped; `None` if the thread has ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        AbortOnDropHandle::new(self.runtime.spawn(task)).await.ok()
    }
}

/// The processor times that Linux keeps.
pub(super) struct LinuxProcessorTimes;

impl ProcessorTimes for LinuxProcessorTimes {
    fn of_this_thread(&self) -> Option<ProcessorTime> {
        // Nanoseconds that it ran and that it waited, and how often it ran. No file: the kernel answers without I/O.
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let mut times = text.split_ascii_whitespace().map(|time| time.parse().ok());
        let mut next = || times.next().flatten().map(Duration::from_nanos);
        Some(ProcessorTime { used: next()?, waited: next()? })
    }
}

/// Looks the subjects of events up among the threads of requests, whose connections are there: one that was opened on this thread
/// would let requests wait for it.
pub(super) struct SubjectsElsewhere<S> {
    subjects: Arc<S>,
    runtime: Handle,
}

impl<S> SubjectsElsewhere<S> {
    /// On the runtime of the caller.
    pub(super) fn here(subjects: S) -> Self {
        Self { subjects: Arc::new(subjects), runtime: Handle::current() }
    }

    async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, PortError>> + Send + 'static,
    ) -> Result<T, PortError> {
        run_on(&self.runtime, "the subjects of events", task).await
    }
}

#[async_trait]
impl<S: EventSubjects + 'static> EventSubjects for SubjectsElsewhere<S> {
    async fn sale(&self, id: SaleId) -> Result<Option<Sale>, PortError> {
        let subjects = Arc::clone(&self.subjects);
        self.run(async move { subjects.sale(id).await }).await
    }

    async fn items(&self, sale: SaleId, numbers: Vec<ItemNo>) -> Result<Vec<Item>, PortError> {
        let subjects = Arc::clone(&self.subjects);
        self.run(async move { subjects.items(sale, numbers).await }).await
    }

    async fn codes(
        &self,
        sale: SaleId,
        attempts: Vec<AttemptId>,
    ) -> Result<Vec<CodeClaim>, PortError> {
        let subjects = Arc::clone(&self.subjects);
        self.run(async move { subjects.codes(sale, attempts).await }).await
    }
}

/// Reads events among the threads of this runtime: in a process without requests they are idle.
pub(super) struct LogElsewhere {
    log: Arc<dyn EventLog>,
    runtime: Handle,
}

impl LogElsewhere {
    /// On the runtime of the caller.
    pub(super) fn here(log: Arc<dyn EventLog>) -> Self {
        Self { log, runtime: Handle::current() }
    }
}

#[async_trait]
impl EventLog for LogElsewhere {
    async fn read(&self, after: i64, at_least: usize) -> Result<Vec<EventBatch>, PortError> {
        let log = Arc::clone(&self.log);
        run_on(&self.runtime, "the events", async move { log.read(after, at_least).await }).await
    }

    async fn end(&self) -> Result<i64, PortError> {
        let log = Arc::clone(&self.log);
        run_on(&self.runtime, "the events", async move { log.end().await }).await
    }
}

/// Runs a task on a runtime. It is aborted if this is dropped.
async fn run_on<T: Send + 'static>(
    runtime: &Handle,
    what: &'static str,
    task: impl Future<Output = Result<T, PortError>> + Send + 'static,
) -> Result<T, PortError> {
    let ran = AbortOnDropHandle::new(runtime.spawn(task)).await;
    ran.unwrap_or_else(|ended| Err(PortError::Broken { what, source: Box::new(ended) }))
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_on_it_has_a_low_priority_and_the_rest_keeps_its_own() {
        let own = getpriority_process(None).unwrap();
        let low = LowPriority::start("low", Beside::Requests).unwrap();

        let there = low.run(async { getpriority_process(None).unwrap() }).await;

        assert_eq!(there, Some(NICE.max(own)));
        assert_eq!(getpriority_process(None).unwrap(), own);
    }

    #[test]
    fn the_time_that_a_thread_used_grows_by_its_work() {
        let before = LinuxProcessorTimes.of_this_thread().unwrap();
        let mut number = 1_u64;
        while LinuxProcessorTimes.of_this_thread().unwrap().used
            < before.used + Duration::from_millis(5)
        {
            number = std::hint::black_box(number.wrapping_mul(3));
        }

        assert!(LinuxProcessorTimes.of_this_thread().unwrap().waited >= before.waited);
    }

    #[tokio::test]
    async fn what_is_waited_for_no_more_is_aborted() {
        let low = LowPriority::start("low", Beside::Requests).unwrap();
        let (held, dropped) = oneshot::channel::<()>();
        let endless = low.run(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });

        assert!(tokio::time::timeout(Duration::from_millis(50), endless).await.is_err());

        assert!(dropped.await.is_err());
    }
}
