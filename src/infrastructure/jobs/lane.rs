//! The jobs of one queue at one worker: those that it has claimed, and the slots in which they run.
//!
//! A claim takes a round trip and a statement; with only as many jobs in it as there are free slots, a worker spends its time on
//! claims. So what will begin within a moment at the pace of the last one is claimed ahead. Jobs that take seconds are claimed one by
//! one, and no other worker stands idle beside them. A job that waits for longer all the same is given back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::metrics::Outcome;
use super::worker::JobWorker;
use crate::application::ports::{Causes, ClaimedJob, JobClaim, Wanted};

/// What ends within this time is claimed ahead.
const MOMENT: Duration = Duration::from_millis(50);
/// The least time over which the pace is measured.
const PACE_OVER: Duration = Duration::from_millis(5);
/// Most jobs that are claimed ahead.
const MOST_AHEAD: usize = 2_000;
/// A job that has waited this long for a slot is given back: others may be free.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Interval at which the claims on record are compared with those in memory. If the response to a claim was lost, its jobs are running on
/// record only.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// At the start the lease begins within some of these.
const LEASE_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The jobs of a queue.
pub(super) struct Lane {
    pub(super) queue: &'static str,
    pub(super) slots: usize,
    most_ahead: usize,
    waiting: Mutex<VecDeque<Waiting>>,
    /// A permit for each job that waits.
    begin: Semaphore,
    /// Jobs that wait or run.
    claimed: AtomicUsize,
    /// With so many or fewer, more are claimed.
    few: AtomicUsize,
    ended: AtomicUsize,
    /// There may be jobs to claim.
    has_more: AtomicBool,
    wake: Notify,
}

struct Waiting {
    job: ClaimedJob,
    since: Instant,
}

/// How many jobs end within a moment.
struct Pace {
    since: Instant,
    ended: usize,
    jobs: usize,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), ended: 0, jobs: 0 }
    }

    /// `ended` is the number of all jobs that have ended.
    fn measured(&mut self, ended: usize) -> usize {
        let elapsed = self.since.elapsed();
        if elapsed >= PACE_OVER {
            let jobs = ended.wrapping_sub(self.ended);
            let moments = elapsed.as_secs_f64() / MOMENT.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a small number"
            )]
            let jobs = (jobs as f64 / moments) as usize;
            *self = Self { since: Instant::now(), ended, jobs };
        }
        self.jobs
    }
}

impl Lane {
    /// A queue whose jobs are short, as far as is known. They are claimed ahead.
    pub(super) fn shared(queue: &'static str, slots: usize) -> Self {
        Self::new(queue, slots, MOST_AHEAD)
    }

    /// A queue of which no more jobs are claimed than there are free slots.
    pub(super) fn of_one_type(queue: &'static str, slots: usize) -> Self {
        Self::new(queue, slots, 0)
    }

    fn new(queue: &'static str, slots: usize, most_ahead: usize) -> Self {
        Self {
            queue,
            slots,
            most_ahead,
            waiting: Mutex::default(),
            begin: Semaphore::new(0),
            claimed: AtomicUsize::new(0),
            few: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            has_more: AtomicBool::new(true),
            wake: Notify::new(),
        }
    }

    /// There may be jobs to claim.
    pub(super) fn notify(&self) {
        self.has_more.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// The next job for a free slot, in the order of the claims; `None` when the worker stops. [`Lane::ended`] must follow.
    pub(super) async fn next(&self) -> Option<ClaimedJob> {
        self.begin.acquire().await.ok()?.forget();
        self.waiting().pop_front().map(|waiting| waiting.job)
    }

    /// A job has ended, and its slot is free.
    pub(super) fn ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.left(1);
    }

    fn left(&self, jobs: usize) {
        let before = self.claimed.fetch_sub(jobs, Ordering::SeqCst);
        if before.saturating_sub(jobs) <= self.few.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Claims jobs until `stop`, once the worker has its lease: a job that is claimed without looks like a dead worker's. A claim that is
    /// under way at the stop is waited for: what it brings is to be given back.
    pub(super) async fn claim(
        &self,
        worker: &JobWorker,
        job_types: &[&'static str],
        poll_interval: Duration,
        stop: &CancellationToken,
    ) {
        while worker.lease.remaining().is_zero() {
            let look = tokio::time::sleep(LEASE_LOOK_INTERVAL);
            if stop.run_until_cancelled(look).await.is_none() {
                return;
            }
        }
        let mut polls = tokio::time::interval(poll_interval);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = Instant::now() + COMPARE_INTERVAL;
        let mut comparisons = tokio::time::interval_at(first, COMPARE_INTERVAL);
        comparisons.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut pace, mut is_failing) = (Pace::new(), false);
        loop {
            let next = async {
                tokio::select! {
                    () = self.wake.notified() => {}
                    _ = polls.tick() => self.has_more.store(true, Ordering::SeqCst),
                    _ = comparisons.tick() => self.give_lost_ones_back(worker).await,
                    () = self.waited_too_long() => self.give_old_ones_back(worker).await,
                }
            };
            if stop.run_until_cancelled(next).await.is_none() {
                return;
            }
            while let Some(at_most) =
                self.wanted(&mut pace, worker).filter(|_| !stop.is_cancelled())
            {
                self.has_more.store(false, Ordering::SeqCst);
                let wanted = Wanted { queue: self.queue, job_types, at_most };
                match worker.attempts.claim(&worker.name, wanted).await {
                    Ok(jobs) => {
                        is_failing = false;
                        if jobs.len() >= at_most {
                            self.has_more.store(true, Ordering::SeqCst);
                        }
                        if stop.is_cancelled() {
                            self.begin.close();
                        }
                        self.add(worker, jobs);
                    }
                    Err(error) => {
                        if !is_failing {
                            let (queue, error) = (self.queue, Causes(&error));
                            tracing::warn!(queue, %error, "cannot claim jobs");
                        }
                        is_failing = true;
                        break;
                    }
                }
            }
        }
    }

    /// How many jobs to claim now.
    fn wanted(&self, pace: &mut Pace, worker: &JobWorker) -> Option<usize> {
        let ahead = pace.measured(self.ended.load(Ordering::Relaxed)).min(self.most_ahead);
        // None ahead: a claim for each free slot. Else half of them, so that the next claim is on its way while the slots have work.
        let few = if ahead == 0 { self.slots - 1 } else { self.slots + ahead / 2 };
        self.few.store(few, Ordering::SeqCst);
        let claimed = self.claimed.load(Ordering::SeqCst);
        let may = self.has_more.load(Ordering::SeqCst) && !worker.lease.remaining().is_zero();
        (may && claimed <= few).then(|| self.slots + ahead - claimed)
    }

    fn add(&self, worker: &JobWorker, jobs: Vec<ClaimedJob>) {
        let (count, since) = (jobs.len(), Instant::now());
        worker.hold(jobs.iter().map(|job| job.claim.id));
        self.claimed.fetch_add(count, Ordering::SeqCst);
        self.waiting().extend(jobs.into_iter().map(|job| Waiting { job, since }));
        self.begin.add_permits(count);
    }

    /// Takes up to so many jobs from those that wait.
    fn take(&self, at_most: usize) -> Vec<ClaimedJob> {
        let permits = (0..at_most).map_while(|_| self.begin.try_acquire().ok());
        let count = permits.map(tokio::sync::SemaphorePermit::forget).count();
        let jobs = self.waiting().drain(..count).map(|waiting| waiting.job).collect();
        self.left(count);
        jobs
    }

    async fn waited_too_long(&self) {
        let oldest = self.waiting().front().map(|waiting| waiting.since);
        match oldest {
            Some(since) => tokio::time::sleep_until(since + LONGEST_WAIT).await,
            None => std::future::pending().await,
        }
    }

    async fn give_old_ones_back(&self, worker: &JobWorker) {
        let is_old = |waiting: &&Waiting| waiting.since.elapsed() >= LONGEST_WAIT;
        let old = self.waiting().iter().take_while(is_old).count();
        self.give_back(worker, self.take(old), Outcome::NoSlot).await;
    }

    /// The worker stops: nothing begins any more.
    pub(super) async fn close(&self, worker: &JobWorker) {
        self.begin.close();
        let jobs: Vec<_> = self.waiting().drain(..).map(|waiting| waiting.job).collect();
        self.left(jobs.len());
        self.give_back(worker, jobs, Outcome::GivenBack).await;
    }

    async fn give_back(&self, worker: &JobWorker, jobs: Vec<ClaimedJob>, outcome: Outcome) {
        for job in &jobs {
            worker.metrics.ran(&job.job_type, outcome, None);
        }
        let claims: Vec<JobClaim> = jobs.iter().map(|job| job.claim).collect();
        worker.give_back(&claims).await;
    }

    async fn give_lost_ones_back(&self, worker: &JobWorker) {
        match worker.attempts.claimed(&worker.name, self.queue).await {
            Ok(mut claims) => {
                claims.retain(|claim| !worker.holds(claim.id));
                if let Some(first) = claims.first() {
                    let (jobs, first_job) = (claims.len(), first.id.get());
                    tracing::warn!(jobs, first_job, "gives back jobs whose claim was not answered");
                    worker.give_back(&claims).await;
                }
            }
            Err(error) => tracing::debug!(error = %Causes(&error), "claims are not compared"),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::poll;
    use std::pin::pin;

    use super::*;
    use crate::application::ports::JobAttempts as _;
    use crate::infrastructure::jobs::fake_attempts::{FakeAttempts, State, a_worker};
    use crate::infrastructure::jobs::types::payload::SHARED_QUEUE;

    const TYPES: &[&str] = &["noop"];
    const POLL: Duration = Duration::from_secs(1);

    struct World {
        attempts: Arc<FakeAttempts>,
        worker: JobWorker,
        lane: Lane,
    }

    impl World {
        fn of(attempts: FakeAttempts, lane: Lane) -> Self {
            let attempts = Arc::new(attempts);
            let (worker, _, _) = a_worker(&attempts, true);
            Self { attempts, worker, lane }
        }

        /// Claims while this goes on.
        async fn claiming<T>(&self, meanwhile: impl Future<Output = T>) -> T {
            let never = CancellationToken::new();
            tokio::select! {
                biased;
                done = tokio::time::timeout(Duration::from_mins(10), meanwhile) => {
                    done.expect("it goes on")
                }
                () = self.lane.claim(&self.worker, TYPES, POLL, &never) => {
                    unreachable!()
                }
            }
        }

        /// Runs jobs of no length, one after the other, for so long.
        async fn run(&self, length: Duration, time: Duration) {
            let run = async {
                while let Some(job) = self.lane.next().await {
                    tokio::time::sleep(length).await;
                    self.attempts.succeed(&[job.claim.id]).await.unwrap();
                    self.lane.ended();
                }
            };
            let _ = tokio::time::timeout(time, run).await;
        }

        fn count(&self, state: &State) -> usize {
            self.attempts.states().iter().filter(|other| *other == state).count()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_jobs_begin_than_are_claimed_and_they_begin_in_order() {
        let world = World::of(FakeAttempts::waiting(5), Lane::of_one_type(SHARED_QUEUE, 2));

        let (first, second) = world
            .claiming(async {
                (world.lane.next().await.unwrap(), world.lane.next().await.unwrap())
            })
            .await;
        let mut third = pin!(world.lane.next());
        assert!(poll!(&mut third).is_pending());
        world.lane.ended();
        let third = world.claiming(third).await.unwrap();

        let ids = [first, second, third].map(|job| job.claim.id.get());
        assert_eq!((ids, world.count(&State::Waiting)), ([1, 2, 3], 2));
        assert_eq!(world.attempts.wanted(), [2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn short_jobs_are_claimed_ahead_and_long_ones_and_those_of_one_type_are_not() {
        let shared = || Lane::shared(SHARED_QUEUE, 1);
        let most = async |lane: Lane, length: Duration| {
            let world = World::of(FakeAttempts::waiting(100_000), lane);
            world.claiming(world.run(length, Duration::from_secs(1))).await;
            world.attempts.wanted().into_iter().max().unwrap()
        };

        let short = most(shared(), Duration::from_millis(1)).await;
        assert!((20..=60).contains(&short), "{short}");
        assert_eq!(most(shared(), Duration::from_millis(200)).await, 1);
        let of_one_type = Lane::of_one_type(SHARED_QUEUE, 1);
        assert_eq!(most(of_one_type, Duration::from_millis(1)).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn new_jobs_are_claimed_at_once_when_they_are_told_of_and_soon_when_not() {
        let world = World::of(FakeAttempts::waiting(0), Lane::shared(SHARED_QUEUE, 10));
        let since = Instant::now();

        world
            .claiming(async {
                tokio::time::sleep(POLL / 4).await;
                world.attempts.add(1);
                world.lane.notify();
                world.lane.next().await;
                assert_eq!(since.elapsed(), POLL / 4);
                world.attempts.add(2);
                world.lane.next().await;
                assert_eq!(since.elapsed(), POLL);
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_waits_for_long_is_given_back() {
        let world = World::of(FakeAttempts::waiting(100_000), Lane::shared(SHARED_QUEUE, 1));
        world.claiming(world.run(Duration::from_millis(1), Duration::from_secs(1))).await;
        let done = world.count(&State::Done);

        world
            .claiming(async {
                world.lane.next().await.unwrap();
                tokio::time::sleep(2 * LONGEST_WAIT).await;
                // This one, and the one that ran when the time was over.
                assert_eq!(world.count(&State::Running), 2);
            })
            .await;

        let runs = world.worker.metrics.counted_runs("noop", Outcome::NoSlot);
        assert!(runs > 0 && done > 0, "{runs}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stops_gives_back_what_has_not_begun() {
        let world = World::of(FakeAttempts::waiting(10), Lane::shared(SHARED_QUEUE, 4));
        world.claiming(world.lane.next()).await.unwrap();
        assert_eq!(world.count(&State::Running), 4);

        world.lane.close(&world.worker).await;

        assert!(world.lane.next().await.is_none());
        assert_eq!(world.count(&State::Running), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_claimed_without_a_lease() {
        let attempts = Arc::new(FakeAttempts::waiting(1));
        let (worker, _, _) = a_worker(&attempts, false);
        let world = World { attempts, worker, lane: Lane::shared(SHARED_QUEUE, 1) };

        let next = world.claiming(tokio::time::timeout(10 * POLL, world.lane.next())).await;

        assert!(next.is_err());
        assert_eq!(world.attempts.states(), [State::Waiting]);
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_whose_claim_was_not_answered_run_all_the_same() {
        let world = World::of(FakeAttempts::waiting(2), Lane::shared(SHARED_QUEUE, 2));
        world.attempts.loses_answers.store(true, Ordering::Relaxed);

        world
            .claiming(async {
                tokio::time::sleep(POLL / 2).await;
                assert_eq!(world.count(&State::Running), 2);
                world.attempts.loses_answers.store(false, Ordering::Relaxed);
                // What it holds is not given back.
                let first = world.lane.next().await.unwrap();
                tokio::time::sleep(2 * COMPARE_INTERVAL).await;
                assert_eq!(world.count(&State::Running), 2);
                let second = world.lane.next().await.unwrap();
                assert_ne!(first.claim.id, second.claim.id);
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn claims_go_on_when_postgresql_is_back() {
        let world = World::of(FakeAttempts::waiting(1), Lane::shared(SHARED_QUEUE, 1));
        world.attempts.is_away.store(true, Ordering::Relaxed);

        let job = world
            .claiming(async {
                tokio::time::sleep(10 * POLL).await;
                world.attempts.is_away.store(false, Ordering::Relaxed);
                world.lane.next().await
            })
            .await;

        assert!(job.is_some());
    }
}
