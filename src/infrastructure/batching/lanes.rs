//! The queues and their writers: one bounded lane a key, made when it is first needed and closed when it is idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::QueueMetrics;
use super::room::Room;
use super::{BatchLimits, BatchMetrics, BatchWork, NotServed};

/// A lane without requests for this long is closed; the next request opens it again.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// A writer clears its desk when no batch came for this long.
const DESK_IDLE: Duration = Duration::from_millis(20);
/// And after this time at the latest, so that lanes which share what lies on desks get their turn.
const DESK_AT_MOST: Duration = Duration::from_millis(250);

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
    room: Arc<Room>,
}

struct Waiting<W: BatchWork> {
    request: W::Request,
    since: Instant,
    reply: oneshot::Sender<Result<W::Reply, NotServed>>,
}

impl<W: BatchWork> Clone for Lane<W> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), room: Arc::clone(&self.room) }
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

    /// Has one request served. Dropping the future does not take the request back.
    pub(crate) async fn submit(
        &self,
        key: W::Key,
        request: W::Request,
    ) -> Result<W::Reply, NotServed> {
        let (reply, answer) = oneshot::channel();
        let mut waiting = Waiting { request, since: Instant::now(), reply };
        loop {
            let Lane { queue, room } = self.shared.lane(key)?;
            if !room.takes(queue.max_capacity() - queue.capacity()) {
                return Err(NotServed::Full);
            }
            self.shared.metrics.depth.inc();
            let Err(refused) = queue.try_send(waiting) else {
                break;
            };
            self.shared.metrics.depth.dec();
            match refused {
                TrySendError::Full(_) => return Err(NotServed::Full),
                // The lane was closed for idleness in this very moment: open it again.
                TrySendError::Closed(returned) => waiting = returned,
            }
        }
        answer.await.unwrap_or(Err(NotServed::Closed))
    }
}

impl<W: BatchWork> Shared<W> {
    fn lane(self: &Arc<Self>, key: W::Key) -> Result<Lane<W>, NotServed> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&key).filter(|lane| !lane.queue.is_closed()) {
            return Ok(lane.clone());
        }
        if self.stop.is_cancelled() {
            return Err(NotServed::Closed);
        }
        let (sender, queue) = mpsc::channel(self.limits.queue);
        let lane = Lane { queue: sender, room: Arc::new(Room::new(self.limits)) };
        lanes.insert(key, lane.clone());
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        for _ in 0..self.limits.writers {
            let room = Arc::clone(&lane.room);
            self.tasks.spawn(Arc::clone(self).write(key, Arc::clone(&queue), room));
        }
        Ok(lane)
    }

    async fn write(self: Arc<Self>, key: W::Key, queue: Queue<W>, room: Arc<Room>) {
        let (mut desk, mut since) = (W::Desk::default(), Instant::now());
        loop {
            let soon = tokio::time::timeout(DESK_IDLE, self.next_batch(key, &queue));
            let next = if let Ok(next) = soon.await {
                next
            } else {
                (desk, since) = (W::Desk::default(), Instant::now());
                room.rested();
                self.next_batch(key, &queue).await
            };
            let Some(batch) = next else { return };
            let (requests, replies) = self.begin(batch);
            if requests.is_empty() {
                continue;
            }
            if since.elapsed() > DESK_AT_MOST {
                (desk, since) = (W::Desk::default(), Instant::now());
            }
            let (begun, served) = (Instant::now(), requests.len());
            let answers = self.work.serve(&mut desk, key, requests).await;
            room.served(served, begun.elapsed());
            for (reply, answer) in replies.into_iter().zip(answers) {
                // A caller that went away does not want its answer any more.
                let _ = reply.send(Ok(answer));
            }
            self.gather(&queue).await;
        }
    }

    async fn gather(&self, queue: &Queue<W>) {
        let time = self.work.gathers_for();
        // Where another writer has the queue, it takes what comes.
        let is_waiting_for_more =
            || queue.try_lock().is_ok_and(|queue| queue.len() < self.limits.size);
        if !time.is_zero() && is_waiting_for_more() {
            tokio::time::sleep(time).await;
        }
    }

    /// All that wait, up to a batch; `None` when the lane is closed.
    async fn next_batch(&self, key: W::Key, queue: &Queue<W>) -> Option<Vec<Waiting<W>>> {
        let mut queue = queue.lock().await;
        let mut batch = Vec::with_capacity(self.limits.size.min(64));
        tokio::select! {
            biased;
            taken = queue.recv_many(&mut batch, self.limits.size) => {
                return (taken > 0).then_some(batch);
            }
            () = self.stop.cancelled() => queue.close(),
            () = tokio::time::sleep(IDLE_AFTER) => {
                let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
                lanes.remove(&key);
                queue.close();
            }
        }
        // Closed: what was sent before is still served.
        let taken = queue.recv_many(&mut batch, self.limits.size).await;
        (taken > 0).then_some(batch)
    }

    /// Tells those whose time is up, and takes the others apart.
    #[expect(clippy::type_complexity, reason = "the two halves of a batch, used once")]
    fn begin(
        &self,
        batch: Vec<Waiting<W>>,
    ) -> (Vec<W::Request>, Vec<oneshot::Sender<Result<W::Reply, NotServed>>>) {
        let now = Instant::now();
        self.metrics.depth.sub(i64::try_from(batch.len()).unwrap_or(i64::MAX));
        let mut requests = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
        for waiting in batch {
            let waited = now.saturating_duration_since(waiting.since);
            self.metrics.wait.observe(waited.as_secs_f64());
            if waited > self.limits.queue_timeout {
                let _ = waiting.reply.send(Err(NotServed::TimeUp));
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

    /// Answers each request with the size of its batch, once it is let.
    struct Gate {
        opens: Arc<Semaphore>,
        gathers_for: Duration,
    }

    #[async_trait]
    impl BatchWork for Gate {
        type Key = u8;
        type Request = ();
        type Reply = usize;
        type Desk = ();

        fn gathers_for(&self) -> Duration {
            self.gathers_for
        }

        async fn serve(&self, (): &mut (), _key: u8, requests: Vec<()>) -> Vec<usize> {
            self.opens.acquire().await.unwrap().forget();
            vec![requests.len(); requests.len()]
        }
    }

    fn batcher(queue: usize, queue_timeout: Duration) -> (Arc<Batcher<Gate>>, Arc<Semaphore>) {
        gathering(Duration::ZERO, queue, queue_timeout)
    }

    fn gathering(
        gathers_for: Duration,
        queue: usize,
        queue_timeout: Duration,
    ) -> (Arc<Batcher<Gate>>, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let limits =
            BatchLimits { size: 4, writers: 1, queue, queue_timeout, wait_limit: queue_timeout };
        let metrics = BatchMetrics::register(&Registry::new()).unwrap();
        let scope = (TaskTracker::new(), CancellationToken::new());
        let work = Gate { opens: Arc::clone(&gate), gathers_for };
        let batcher = Batcher::new("test", work, limits, &metrics, scope);
        (Arc::new(batcher), gate)
    }

    /// Hands in a request and waits until it is in the queue, or in the writer's hands.
    async fn hand_in(
        batcher: &Arc<Batcher<Gate>>,
    ) -> tokio::task::JoinHandle<Result<usize, NotServed>> {
        let handle = {
            let batcher = Arc::clone(batcher);
            batcher.shared.tasks.clone().spawn(async move { batcher.submit(1, ()).await })
        };
        tokio::task::yield_now().await;
        handle
    }

    #[tokio::test(start_paused = true)]
    async fn what_gathers_while_a_batch_runs_is_the_next_batch() {
        let (batcher, gate) = batcher(16, Duration::from_secs(1));
        let first = hand_in(&batcher).await;
        tokio::task::yield_now().await;
        let mut others = Vec::new();
        for _ in 0..5 {
            others.push(hand_in(&batcher).await);
        }

        gate.add_permits(3);

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
        let (batcher, gate) = gathering(pause, 16, Duration::from_secs(1));
        gate.add_permits(9);
        let begun = Instant::now();
        assert_eq!(batcher.submit(1, ()).await, Ok(1));
        assert_eq!(begun.elapsed(), Duration::ZERO);

        let one = hand_in(&batcher).await;
        tokio::time::sleep(pause / 2).await;
        let two = hand_in(&batcher).await;

        assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok(2), Ok(2)));
        tokio::time::sleep(pause * 2).await;
        let rested = Instant::now();
        assert_eq!(batcher.submit(1, ()).await, Ok(1));
        assert_eq!(rested.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_batch_that_waits_is_not_kept_waiting() {
        let (batcher, gate) = gathering(Duration::from_secs(9), 16, Duration::from_secs(1));
        let running = hand_in(&batcher).await;
        tokio::task::yield_now().await;
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(hand_in(&batcher).await);
        }
        let begun = Instant::now();

        gate.add_permits(2);

        assert_eq!(running.await.unwrap(), Ok(1));
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(4));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once() {
        let (batcher, _gate) = batcher(1, Duration::from_secs(1));
        let _running = hand_in(&batcher).await;
        tokio::task::yield_now().await;
        let _waiting = hand_in(&batcher).await;

        assert_eq!(batcher.submit(1, ()).await, Err(NotServed::Full));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_time_is_up_is_not_executed() {
        let (batcher, gate) = batcher(16, Duration::from_secs(1));
        let first = hand_in(&batcher).await;
        tokio::task::yield_now().await;
        let late = hand_in(&batcher).await;
        tokio::time::advance(Duration::from_secs(2)).await;

        gate.add_permits(1);

        assert_eq!(first.await.unwrap(), Ok(1));
        assert_eq!(late.await.unwrap(), Err(NotServed::TimeUp));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_stop_what_waits_is_served_and_nothing_new_is_taken() {
        let (batcher, gate) = batcher(16, Duration::from_secs(1));
        let running = hand_in(&batcher).await;
        tokio::task::yield_now().await;
        let waiting = hand_in(&batcher).await;

        batcher.shared.stop.cancel();
        gate.add_permits(2);

        assert_eq!(running.await.unwrap(), Ok(1));
        assert_eq!(waiting.await.unwrap(), Ok(1));
        assert_eq!(batcher.submit(1, ()).await, Err(NotServed::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_lane_is_closed_and_opened_again() {
        let (batcher, gate) = batcher(16, Duration::from_secs(1));
        gate.add_permits(2);
        assert_eq!(batcher.submit(1, ()).await, Ok(1));

        tokio::time::advance(IDLE_AFTER * 2).await;
        while !batcher.shared.lanes.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }

        assert_eq!(batcher.submit(1, ()).await, Ok(1));
    }
}
