//! The queues and their writers: one bounded lane for each key, opened by its first request and closed when idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::AdmissionLimit;
use super::batch::{Batch, Caller};
use super::limits::{BatchLimits, Rejected};
use super::long::LongRequests;
use super::metrics::{BatchMetrics, QueueMetrics};
use super::work::BatchWork;
use crate::infrastructure::traces::span_of_batch;

/// A lane without requests for this time is closed; the next request opens it again.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(30);

/// A lane without requests for this time is idle: its measurements are old, and so is what it has left for the next batch.
const QUIET_AFTER: Duration = Duration::from_millis(20);

/// Gathers requests into batches.
pub(crate) struct Batcher<W: BatchWork> {
    pub(super) shared: Arc<Shared<W>>,
}

pub(super) struct Shared<W: BatchWork> {
    work: W,
    limits: BatchLimits,
    metrics: QueueMetrics,
    /// The name of a batch's span.
    span: Arc<str>,
    pub(super) lanes: Mutex<HashMap<W::Key, Lane<W>>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

pub(super) struct Lane<W: BatchWork> {
    queue: mpsc::Sender<Waiting<W>>,
    admission: Arc<AdmissionLimit>,
}

/// A request with its caller.
type Waiting<W> = (<W as BatchWork>::Request, Caller<<W as BatchWork>::Reply>);

impl<W: BatchWork> Clone for Lane<W> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), admission: Arc::clone(&self.admission) }
    }
}

type Queue<W> = Arc<tokio::sync::Mutex<mpsc::Receiver<Waiting<W>>>>;

impl<W: BatchWork> Batcher<W> {
    /// Serves with `work`. Writers run under `tasks`; after `stop` they finish what waits and end.
    pub(crate) fn new(
        name: &str,
        work: W,
        limits: BatchLimits,
        metrics: &BatchMetrics,
        (tasks, stop): (TaskTracker, CancellationToken),
    ) -> Self {
        let (metrics, span) = (metrics.queue(name), format!("batch {name}").into());
        let lanes = Mutex::default();
        Self { shared: Arc::new(Shared { work, limits, metrics, span, lanes, tasks, stop }) }
    }

    /// Submits one request and waits for its reply. Dropping the future does not cancel the request.
    pub(crate) async fn submit(
        &self,
        key: W::Key,
        request: W::Request,
    ) -> Result<W::Reply, Rejected> {
        let (caller, answer) = Caller::new();
        let mut waiting = (request, caller);
        loop {
            let Lane { queue, admission } = self.shared.lane(key)?;
            let is_late = self.shared.work.expected_wait() > self.shared.limits.wait_limit;
            if is_late || !admission.admits(queue.max_capacity() - queue.capacity()) {
                return Err(Rejected::Full);
            }
            self.shared.metrics.depth.inc();
            let Err(refused) = queue.try_send(waiting) else {
                break;
            };
            self.shared.metrics.depth.dec();
            match refused {
                TrySendError::Full(_) => return Err(Rejected::Full),
                // The idle lane was closed at this moment: open it again.
                TrySendError::Closed(returned) => waiting = returned,
            }
        }
        answer.await.unwrap_or(Err(Rejected::Closed))
    }
}

impl<W: BatchWork> Shared<W> {
    fn lane(self: &Arc<Self>, key: W::Key) -> Result<Lane<W>, Rejected> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&key).filter(|lane| !lane.queue.is_closed()) {
            return Ok(lane.clone());
        }
        if self.stop.is_cancelled() {
            return Err(Rejected::Closed);
        }
        let (sender, queue) = mpsc::channel(self.limits.queue);
        let lane = Lane { queue: sender, admission: Arc::new(AdmissionLimit::new(self.limits)) };
        lanes.insert(key, lane.clone());
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        for _ in 0..self.limits.writers {
            let admission = Arc::clone(&lane.admission);
            self.tasks.spawn(Arc::clone(self).write(key, Arc::clone(&queue), admission));
        }
        Ok(lane)
    }

    async fn write(self: Arc<Self>, key: W::Key, queue: Queue<W>, admission: Arc<AdmissionLimit>) {
        let mut long = LongRequests::new(self.limits, W::LONG_BATCH);
        loop {
            let long_batch = long.turn();
            let is_long = long_batch.is_some();
            let next = match long_batch {
                Some(batch) => Some(batch),
                None if long.is_empty() => {
                    let admissions = [&*admission, long.admission()];
                    self.next_batch_or_quiet(key, &queue, admissions).await
                }
                None => Some(self.waiting_now(&queue)),
            };
            let Some(next) = next else { return };
            let mut batch = self.begin(next);
            if batch.is_empty() {
                continue;
            }
            let (started, served) = (Instant::now(), batch.len());
            let callers = batch.take_traces();
            let serve = self.work.serve(key, batch);
            let returned = span_of_batch(&self.span, (&callers, served), serve).await;
            let admission = if is_long { long.admission() } else { &admission };
            admission.record(served, started.elapsed());
            let waiting = long.add(returned);
            self.metrics.depth.add(i64::try_from(waiting).unwrap_or(i64::MAX));
            self.gather(&queue).await;
        }
    }

    /// The next batch; `None` when the lane is closed.
    async fn next_batch_or_quiet(
        &self,
        key: W::Key,
        queue: &Queue<W>,
        admissions: [&AdmissionLimit; 2],
    ) -> Option<Vec<Waiting<W>>> {
        let soon = tokio::time::timeout(QUIET_AFTER, self.next_batch(key, queue));
        if let Ok(next) = soon.await {
            return next;
        }
        admissions.into_iter().for_each(AdmissionLimit::reset);
        self.work.release_idle();
        self.next_batch(key, queue).await
    }

    /// The requests that wait now, up to the size of a batch.
    fn waiting_now(&self, queue: &Queue<W>) -> Vec<Waiting<W>> {
        // If another writer holds the queue, it receives the requests.
        let Ok(mut queue) = queue.try_lock() else { return Vec::new() };
        if self.stop.is_cancelled() {
            queue.close();
        }
        std::iter::from_fn(|| queue.try_recv().ok()).take(self.limits.size).collect()
    }

    async fn gather(&self, queue: &Queue<W>) {
        let time = self.work.gather_delay();
        // If another writer holds the queue, it receives the next requests.
        let is_waiting_for_more =
            || queue.try_lock().is_ok_and(|queue| queue.len() < self.limits.size);
        if !time.is_zero() && is_waiting_for_more() {
            tokio::time::sleep(time).await;
        }
    }

    /// All waiting requests, up to the size of a batch; `None` when the lane is closed.
    async fn next_batch(&self, key: W::Key, queue: &Queue<W>) -> Option<Vec<Waiting<W>>> {
        let mut queue = queue.lock().await;
        let mut batch = Vec::with_capacity(self.limits.size.min(64));
        tokio::select! {
            biased;
            received = queue.recv_many(&mut batch, self.limits.size) => {
                return (received > 0).then_some(batch);
            }
            () = self.stop.cancelled() => queue.close(),
            () = tokio::time::sleep(IDLE_AFTER) => {
                let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
                lanes.remove(&key);
                queue.close();
            }
        }
        // The queue is closed: requests sent before that are still served.
        let received = queue.recv_many(&mut batch, self.limits.size).await;
        (received > 0).then_some(batch)
    }

    /// A batch of these requests, but those that waited too long, which it rejects.
    fn begin(&self, waiting: Vec<Waiting<W>>) -> Batch<W::Request, W::Reply> {
        let now = Instant::now();
        self.metrics.depth.sub(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        let mut batch = Batch::with_capacity(waiting.len());
        for (request, caller) in waiting {
            let waited = now.saturating_duration_since(caller.since);
            self.metrics.wait.observe(waited.as_secs_f64());
            if waited > self.limits.queue_timeout {
                let _ = caller.reply.send(Err(Rejected::TimeUp));
                continue;
            }
            batch.push(request, caller);
        }
        if !batch.is_empty() {
            self.metrics.size.observe(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        }
        batch
    }
}
