//! The queues and their writers: one bounded lane for each key, opened by its first request and closed when idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::AdmissionLimit;
use super::limits::{BatchLimits, Rejected};
use super::metrics::{BatchMetrics, QueueMetrics};
use super::work::BatchWork;

/// A lane without requests for this time is closed; the next request opens it again.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// A writer drops its state when it gets no batch for this time.
const STATE_IDLE: Duration = Duration::from_millis(20);
/// A writer drops its state after this time even under load, so that other lanes get their turn with what it holds, such as
/// a connection.
const STATE_MAX_AGE: Duration = Duration::from_millis(250);

/// Gathers requests into batches.
pub(crate) struct Batcher<W: BatchWork> {
    shared: Arc<Shared<W>>,
}

struct Shared<W: BatchWork> {
    work: W,
    limits: BatchLimits,
    metrics: QueueMetrics,
    lanes: Mutex<HashMap<W::Key, Lane<W>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Lane<W: BatchWork> {
    queue: mpsc::Sender<Waiting<W>>,
    admission: Arc<AdmissionLimit>,
}

struct Waiting<W: BatchWork> {
    request: W::Request,
    since: Instant,
    reply: oneshot::Sender<Result<W::Reply, Rejected>>,
}

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
        let metrics = metrics.queue(name);
        let lanes = Mutex::default();
        Self { shared: Arc::new(Shared { work, limits, metrics, lanes, tasks, stop }) }
    }

    /// Submits one request and waits for its reply. Dropping the future does not cancel the request.
    pub(crate) async fn submit(
        &self,
        key: W::Key,
        request: W::Request,
    ) -> Result<W::Reply, Rejected> {
        let (reply, answer) = oneshot::channel();
        let mut waiting = Waiting { request, since: Instant::now(), reply };
        loop {
            let Lane { queue, admission } = self.shared.lane(key)?;
            if !admission.admits(queue.max_capacity() - queue.capacity()) {
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
        let (mut state, mut since) = (W::WriterState::default(), Instant::now());
        loop {
            let soon = tokio::time::timeout(STATE_IDLE, self.next_batch(key, &queue));
            let next = if let Ok(next) = soon.await {
                next
            } else {
                (state, since) = (W::WriterState::default(), Instant::now());
                admission.reset();
                self.next_batch(key, &queue).await
            };
            let Some(batch) = next else { return };
            let (requests, replies) = self.begin(batch);
            if requests.is_empty() {
                continue;
            }
            if since.elapsed() > STATE_MAX_AGE {
                (state, since) = (W::WriterState::default(), Instant::now());
            }
            let (started, served) = (Instant::now(), requests.len());
            let answers = self.work.serve(&mut state, key, requests).await;
            admission.record(served, started.elapsed());
            for (reply, answer) in replies.into_iter().zip(answers) {
                // Fails if the caller has gone away.
                let _ = reply.send(Ok(answer));
            }
            self.gather(&queue).await;
        }
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

    /// Rejects the requests that waited too long, and splits the others into requests and reply channels.
    #[expect(clippy::type_complexity, reason = "the two halves of a batch, used once")]
    fn begin(
        &self,
        batch: Vec<Waiting<W>>,
    ) -> (Vec<W::Request>, Vec<oneshot::Sender<Result<W::Reply, Rejected>>>) {
        let now = Instant::now();
        self.metrics.depth.sub(i64::try_from(batch.len()).unwrap_or(i64::MAX));
        let mut requests = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
        for waiting in batch {
            let waited = now.saturating_duration_since(waiting.since);
            self.metrics.wait.observe(waited.as_secs_f64());
            if waited > self.limits.queue_timeout {
                let _ = waiting.reply.send(Err(Rejected::TimeUp));
                continue;
            }
            requests.push(waiting.request);
            replies.push(waiting.reply);
        }
        self.metrics.size.observe(f64::from(u32::try_from(requests.len()).unwrap_or(u32::MAX)));
        (requests, replies)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use prometheus::Registry;
    use tokio::sync::Semaphore;

    use super::*;

    /// Replies with the size of the batch, after it got a permit.
    struct PermittedWork {
        permits: Arc<Semaphore>,
        gather_delay: Duration,
    }

    #[async_trait]
    impl BatchWork for PermittedWork {
        type Key = u8;
        type Request = ();
        type Reply = usize;
        type WriterState = ();

        fn gather_delay(&self) -> Duration {
            self.gather_delay
        }

        async fn serve(&self, (): &mut (), _key: u8, requests: Vec<()>) -> Vec<usize> {
            self.permits.acquire().await.unwrap().forget();
            vec![requests.len(); requests.len()]
        }
    }

    fn batcher(
        queue: usize,
        queue_timeout: Duration,
    ) -> (Arc<Batcher<PermittedWork>>, Arc<Semaphore>) {
        gathering(Duration::ZERO, queue, queue_timeout)
    }

    fn gathering(
        gather_delay: Duration,
        queue: usize,
        queue_timeout: Duration,
    ) -> (Arc<Batcher<PermittedWork>>, Arc<Semaphore>) {
        let permits = Arc::new(Semaphore::new(0));
        let limits =
            BatchLimits { size: 4, writers: 1, queue, queue_timeout, wait_limit: queue_timeout };
        let metrics = BatchMetrics::register(&Registry::new()).unwrap();
        let scope = (TaskTracker::new(), CancellationToken::new());
        let work = PermittedWork { permits: Arc::clone(&permits), gather_delay };
        let batcher = Batcher::new("test", work, limits, &metrics, scope);
        (Arc::new(batcher), permits)
    }

    /// Submits a request in a task of its own, and returns when it is in the queue or being served.
    async fn spawn_request(
        batcher: &Arc<Batcher<PermittedWork>>,
    ) -> tokio::task::JoinHandle<Result<usize, Rejected>> {
        let handle = {
            let batcher = Arc::clone(batcher);
            batcher.shared.tasks.clone().spawn(async move { batcher.submit(1, ()).await })
        };
        tokio::task::yield_now().await;
        handle
    }

    #[tokio::test(start_paused = true)]
    async fn what_gathers_while_a_batch_runs_is_the_next_batch() {
        let (batcher, permits) = batcher(16, Duration::from_secs(1));
        let first = spawn_request(&batcher).await;
        tokio::task::yield_now().await;
        let mut others = Vec::new();
        for _ in 0..5 {
            others.push(spawn_request(&batcher).await);
        }

        permits.add_permits(3);

        assert_eq!(first.await.unwrap(), Ok(1));
        let mut sizes = Vec::new();
        for other in others {
            sizes.push(other.await.unwrap().unwrap());
        }
        assert_eq!(sizes, [4, 4, 4, 4, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_work_says_so_requests_gather_after_a_batch_but_never_before_the_first() {
        let pause = Duration::from_millis(2);
        let (batcher, permits) = gathering(pause, 16, Duration::from_secs(1));
        permits.add_permits(9);
        let started = Instant::now();
        assert_eq!(batcher.submit(1, ()).await, Ok(1));
        assert_eq!(started.elapsed(), Duration::ZERO);

        let one = spawn_request(&batcher).await;
        tokio::time::sleep(pause / 2).await;
        let two = spawn_request(&batcher).await;

        assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok(2), Ok(2)));
        tokio::time::sleep(pause * 2).await;
        let idle_since = Instant::now();
        assert_eq!(batcher.submit(1, ()).await, Ok(1));
        assert_eq!(idle_since.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_batch_that_waits_is_not_kept_waiting() {
        let (batcher, permits) = gathering(Duration::from_secs(9), 16, Duration::from_secs(1));
        let running = spawn_request(&batcher).await;
        tokio::task::yield_now().await;
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(spawn_request(&batcher).await);
        }
        let started = Instant::now();

        permits.add_permits(2);

        assert_eq!(running.await.unwrap(), Ok(1));
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(4));
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once() {
        let (batcher, _permits) = batcher(1, Duration::from_secs(1));
        let _running = spawn_request(&batcher).await;
        tokio::task::yield_now().await;
        let _waiting = spawn_request(&batcher).await;

        assert_eq!(batcher.submit(1, ()).await, Err(Rejected::Full));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_time_is_up_is_not_executed() {
        let (batcher, permits) = batcher(16, Duration::from_secs(1));
        let first = spawn_request(&batcher).await;
        tokio::task::yield_now().await;
        let late = spawn_request(&batcher).await;
        tokio::time::advance(Duration::from_secs(2)).await;

        permits.add_permits(1);

        assert_eq!(first.await.unwrap(), Ok(1));
        assert_eq!(late.await.unwrap(), Err(Rejected::TimeUp));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_stop_what_waits_is_served_and_nothing_new_is_taken() {
        let (batcher, permits) = batcher(16, Duration::from_secs(1));
        let running = spawn_request(&batcher).await;
        tokio::task::yield_now().await;
        let waiting = spawn_request(&batcher).await;

        batcher.shared.stop.cancel();
        permits.add_permits(2);

        assert_eq!(running.await.unwrap(), Ok(1));
        assert_eq!(waiting.await.unwrap(), Ok(1));
        assert_eq!(batcher.submit(1, ()).await, Err(Rejected::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_lane_is_closed_and_opened_again() {
        let (batcher, permits) = batcher(16, Duration::from_secs(1));
        permits.add_permits(2);
        assert_eq!(batcher.submit(1, ()).await, Ok(1));

        tokio::time::advance(IDLE_AFTER * 2).await;
        while !batcher.shared.lanes.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }

        assert_eq!(batcher.submit(1, ()).await, Ok(1));
    }
}
