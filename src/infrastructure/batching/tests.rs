//! Tests of the lanes, by a work that waits for permits.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::Batch;
use super::lanes::{Batcher, IDLE_AFTER};
use super::limits::{BatchLimits, Rejected};
use super::metrics::BatchMetrics;
use super::work::BatchWork;

/// Replies with the size of the batch, after it got a permit.
struct PermittedWork {
    permits: Arc<Semaphore>,
    gather_delay: Duration,
    expected_wait: Duration,
}

/// Whether a request is too long for a batch of more than two.
type IsLong = bool;

#[async_trait]
impl BatchWork for PermittedWork {
    type Key = u8;
    type Request = IsLong;
    type Reply = usize;
    const LONG_BATCH: usize = 2;

    fn gather_delay(&self) -> Duration {
        self.gather_delay
    }

    fn expected_wait(&self) -> Duration {
        self.expected_wait
    }

    async fn serve(&self, _key: u8, batch: Batch<IsLong, usize>) -> Batch<IsLong, usize> {
        self.permits.acquire().await.unwrap().forget();
        let size = batch.len();
        let replies =
            batch.requests().iter().map(|is_long| (size <= 2 || !is_long).then_some(size));
        let replies: Vec<_> = replies.collect();
        batch.answer_some(replies)
    }
}

fn batcher(queue: usize, queue_timeout: Duration) -> (Arc<Batcher<PermittedWork>>, Arc<Semaphore>) {
    working((Duration::ZERO, Duration::ZERO), queue, queue_timeout)
}

fn gathering(
    gather_delay: Duration,
    queue: usize,
    queue_timeout: Duration,
) -> (Arc<Batcher<PermittedWork>>, Arc<Semaphore>) {
    working((gather_delay, Duration::ZERO), queue, queue_timeout)
}

fn working(
    (gather_delay, expected_wait): (Duration, Duration),
    queue: usize,
    queue_timeout: Duration,
) -> (Arc<Batcher<PermittedWork>>, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let limits =
        BatchLimits { size: 4, writers: 1, queue, queue_timeout, wait_limit: queue_timeout };
    let metrics = BatchMetrics::register(&Registry::new()).unwrap();
    let scope = (TaskTracker::new(), CancellationToken::new());
    let work = PermittedWork { permits: Arc::clone(&permits), gather_delay, expected_wait };
    let batcher = Batcher::new("test", work, limits, &metrics, scope);
    (Arc::new(batcher), permits)
}

/// Submits a request in a task of its own, and returns when it is in the queue or being served.
async fn spawn_request(
    batcher: &Arc<Batcher<PermittedWork>>,
) -> tokio::task::JoinHandle<Result<usize, Rejected>> {
    spawn_of_length(batcher, false).await
}

async fn spawn_of_length(
    batcher: &Arc<Batcher<PermittedWork>>,
    is_long: IsLong,
) -> tokio::task::JoinHandle<Result<usize, Rejected>> {
    let handle = {
        let batcher = Arc::clone(batcher);
        batcher.shared.tasks.clone().spawn(async move { batcher.submit(1, is_long).await })
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
    assert_eq!(batcher.submit(1, false).await, Ok(1));
    assert_eq!(started.elapsed(), Duration::ZERO);

    let one = spawn_request(&batcher).await;
    tokio::time::sleep(pause / 2).await;
    let two = spawn_request(&batcher).await;

    assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok(2), Ok(2)));
    tokio::time::sleep(pause * 2).await;
    let idle_since = Instant::now();
    assert_eq!(batcher.submit(1, false).await, Ok(1));
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

    assert_eq!(batcher.submit(1, false).await, Err(Rejected::Full));
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
    assert_eq!(batcher.submit(1, false).await, Err(Rejected::Closed));
}

#[tokio::test(start_paused = true)]
async fn long_requests_are_served_in_small_batches_in_turn_with_the_others() {
    let (batcher, permits) = batcher(16, Duration::from_secs(1));
    let mut replies = vec![spawn_request(&batcher).await];
    tokio::task::yield_now().await;
    for is_long in [true, true, true, true, false, false, false, false, false] {
        replies.push(spawn_of_length(&batcher, is_long).await);
    }

    permits.add_permits(1);
    assert_eq!(replies.remove(0).await.unwrap(), Ok(1));
    // A whole batch of long requests, which are returned, and then two of them.
    permits.add_permits(2);
    let mut sizes = Vec::new();
    for reply in replies.drain(..2) {
        sizes.push(reply.await.unwrap());
    }
    permits.add_permits(1);
    while !replies.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::task::yield_now().await;
    }
    assert!(replies[..2].iter().all(|long| !long.is_finished()), "the others had no turn");
    permits.add_permits(2);
    for reply in replies {
        sizes.push(reply.await.unwrap());
    }

    assert_eq!(sizes, [2, 2, 2, 2, 4, 4, 4, 4, 1].map(Ok));
}

#[tokio::test(start_paused = true)]
async fn what_would_wait_too_long_for_what_the_lanes_share_is_refused_at_once() {
    let (limit, longer) = (Duration::from_secs(1), Duration::from_millis(1_001));
    let (late, _permits) = working((Duration::ZERO, longer), 16, limit);
    let (in_time, permits) = working((Duration::ZERO, limit), 16, limit);
    permits.add_permits(1);

    assert_eq!(late.submit(1, false).await, Err(Rejected::Full));
    assert_eq!(in_time.submit(1, false).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn after_the_stop_long_requests_are_served_too() {
    let (batcher, permits) = batcher(16, Duration::from_secs(1));
    let mut replies = vec![spawn_request(&batcher).await];
    tokio::task::yield_now().await;
    for _ in 0..3 {
        replies.push(spawn_of_length(&batcher, true).await);
    }

    batcher.shared.stop.cancel();
    permits.add_permits(4);

    let mut sizes = Vec::new();
    for reply in replies {
        sizes.push(reply.await.unwrap());
    }
    assert_eq!(sizes, [1, 2, 2, 1].map(Ok));
}

#[tokio::test(start_paused = true)]
async fn an_idle_lane_is_closed_and_opened_again() {
    let (batcher, permits) = batcher(16, Duration::from_secs(1));
    permits.add_permits(2);
    assert_eq!(batcher.submit(1, false).await, Ok(1));

    tokio::time::advance(IDLE_AFTER * 2).await;
    while !batcher.shared.lanes.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }

    assert_eq!(batcher.submit(1, false).await, Ok(1));
}
