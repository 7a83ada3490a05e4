//! A worker from start to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;

use super::attempt::{AnyHandler, TypeHandler};
use super::lane::Lane;
use super::types::TYPES;
use super::types::payload::{Handler, Payload, SHARED_QUEUE};
use super::worker::{JobWorker, Successes};
use crate::application::jobs::tend::TendJobs;
use crate::application::ports::{Causes, JobNotifications, TakenOver};
use crate::domain::job::JobState;

/// Time between two renewals of the lease: several fit into it.
const TEND_INTERVAL: Duration = Duration::from_millis(500);
/// Jobs that are cancelled, and do not end in this time because they block their threads, are abandoned.
const STUCK_AFTER: Duration = Duration::from_secs(2);

/// A type can be enqueued, and nothing runs it.
#[derive(Debug, thiserror::Error)]
#[error("no handler runs jobs of type {0}")]
pub(crate) struct NoHandler(&'static str);

/// How a worker runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunnerSettings {
    /// Jobs at a time, without those of types that have slots of their own.
    pub(crate) workers: usize,
    /// How often queues are read when nothing tells of new jobs.
    pub(crate) poll_interval: Duration,
    /// At the stop running jobs have this time to finish; then they are given back.
    pub(crate) finish_within: Duration,
}

/// What runs each type of job.
#[derive(Default)]
pub(crate) struct Handlers(BTreeMap<&'static str, Box<dyn AnyHandler>>);

impl Handlers {
    /// Runs the jobs of a type with this handler.
    pub(crate) fn add<P: Payload>(&mut self, handler: impl Handler<P>) {
        self.0.insert(P::NAME, Box::new(TypeHandler(Arc::new(handler))));
    }

    /// These handlers, if every type has one: what can be enqueued must be run.
    pub(crate) fn complete(self) -> Result<Self, NoHandler> {
        match TYPES.iter().find(|spec| !self.0.contains_key(spec.name)) {
            Some(spec) => Err(NoHandler(spec.name)),
            None => Ok(self),
        }
    }
}

/// A worker that runs.
pub(crate) struct Runner {
    worker: Arc<JobWorker>,
    handlers: Arc<Handlers>,
    lanes: Vec<Arc<Lane>>,
    tend: TendJobs,
    notifications: Arc<dyn JobNotifications>,
    settings: RunnerSettings,
}

impl Runner {
    pub(crate) fn new(
        worker: JobWorker,
        handlers: Handlers,
        tend: TendJobs,
        notifications: Arc<dyn JobNotifications>,
        settings: RunnerSettings,
    ) -> Self {
        let of_type = TYPES.iter().filter_map(|spec| {
            let slots = spec.limits.concurrency?;
            Some(Lane::of_one_type(spec.queue(), slots))
        });
        let lanes = of_type.chain([Lane::shared(SHARED_QUEUE, settings.workers)]);
        let lanes = lanes.map(Arc::new).collect();
        let (worker, handlers) = (Arc::new(worker), Arc::new(handlers));
        Self { worker, handlers, lanes, tend, notifications, settings }
    }

    /// Runs jobs until `stop`. Then running jobs finish, or are given back, and the lease ends.
    pub(crate) async fn run(self, mut successes: Successes, stop: CancellationToken) {
        let (jobs_ended, all_recorded) = (CancellationToken::new(), CancellationToken::new());
        // The lease is renewed until the last end is on record: the jobs are this worker's until then.
        tokio::join!(
            self.tend(&all_recorded),
            stop.run_until_cancelled(self.listen()),
            async {
                self.worker.record_successes(&mut successes, &jobs_ended).await;
                all_recorded.cancel();
            },
            async {
                join_all(self.lanes.iter().map(|lane| self.work(lane, &stop))).await;
                jobs_ended.cancel();
            },
        );
        if let Err(error) = self.tend.release().await {
            tracing::warn!(error = %Causes(&error), "the lease of this worker ends by itself");
        }
    }

    async fn listen(&self) {
        let tell = |queue: Option<&str>| {
            let is_told = |lane: &&Arc<Lane>| queue.is_none_or(|queue| queue == lane.queue);
            self.lanes.iter().filter(is_told).for_each(|lane| lane.notify());
        };
        self.notifications.follow(&tell).await;
    }

    /// Runs the jobs of a queue.
    async fn work(&self, lane: &Arc<Lane>, stop: &CancellationToken) {
        let mut slots = JoinSet::new();
        for _ in 0..lane.slots {
            let (worker, handlers, lane) =
                (Arc::clone(&self.worker), Arc::clone(&self.handlers), Arc::clone(lane));
            slots.spawn(async move {
                while let Some(job) = lane.next().await {
                    match handlers.0.get(job.job_type.as_str()) {
                        Some(handler) => worker.run(job, &**handler).await,
                        None => worker.give_back(&[job.claim]).await,
                    }
                    lane.ended();
                }
            });
        }
        let job_types: Vec<&str> = self.handlers.0.keys().copied().collect();
        lane.claim(&self.worker, &job_types, self.settings.poll_interval, stop).await;
        // While PostgreSQL is away nothing is given back: those jobs are taken over when the lease ends.
        let end = Instant::now() + self.settings.finish_within;
        let _ = tokio::join!(timeout_at(end, lane.close(&self.worker)), async {
            if timeout_at(end, ended(&mut slots)).await.is_err() {
                self.worker.cancelled.cancel();
                let _ = tokio::time::timeout(STUCK_AFTER, ended(&mut slots)).await;
            }
        });
    }

    async fn tend(&self, ended: &CancellationToken) {
        let mut ticks = tokio::time::interval(TEND_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.tend.execute().await {
                Ok(taken) => {
                    if is_failing {
                        tracing::info!("this worker is in touch with postgresql again");
                    }
                    is_failing = false;
                    self.took_over(&taken);
                }
                Err(error) => {
                    if !is_failing {
                        let error = Causes(&error);
                        tracing::warn!(%error, "this worker has lost touch with postgresql");
                    }
                    is_failing = true;
                }
            }
        }
    }

    fn took_over(&self, taken: &[TakenOver]) {
        self.worker.metrics.took_over(taken.len());
        for job in taken.iter().filter(|job| job.state == JobState::Dead) {
            self.worker.died(job);
        }
        let Some(TakenOver { id, job_type, worker, state, .. }) = taken.first() else { return };
        tracing::warn!(
            jobs = taken.len(),
            first_job = id.get(),
            first_type = job_type,
            first_worker = worker,
            first_state = state.as_str(),
            "took over jobs of workers that died"
        );
    }
}

async fn ended(slots: &mut JoinSet<()>) {
    while slots.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::application::jobs::lease::Lease;
    use crate::application::ports::{Clock, MockWorkerJobs};
    use crate::infrastructure::jobs::fake_attempts::{FakeAttempts, State, a_worker};
    use crate::infrastructure::jobs::types::noop::Noop;
    use crate::infrastructure::jobs::types::payload::JobError;

    const FINISH_WITHIN: Duration = Duration::from_secs(10);

    /// Tells nothing.
    struct NoNotifications;

    #[async_trait]
    impl JobNotifications for NoNotifications {
        async fn follow(&self, _: &(dyn for<'q> Fn(Option<&'q str>) + Send + Sync)) {
            std::future::pending::<()>().await;
        }
    }

    /// Takes so long.
    struct Takes {
        time: Duration,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    #[async_trait]
    impl Handler<Noop> for Arc<Takes> {
        async fn run(&self, _: Noop) -> Result<(), JobError> {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(self.time).await;
            self.now.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        }
    }

    /// Runs twenty jobs that take so long in three slots, and stops the worker after a second. Returns their states, and how many ran at
    /// a time.
    async fn after_a_second(time: Duration) -> (Vec<State>, usize) {
        let attempts = Arc::new(FakeAttempts::waiting(20));
        let most = stopped_after_a_second(&attempts, time, || {}).await;
        (attempts.states(), most)
    }

    /// `at_stop` is called at the stop. Returns how many jobs ran at a time.
    async fn stopped_after_a_second(
        attempts: &Arc<FakeAttempts>,
        time: Duration,
        at_stop: impl FnOnce(),
    ) -> usize {
        let (worker, successes, clock) = a_worker(attempts, true);
        let clock: Arc<dyn Clock> = clock;
        let mut jobs = MockWorkerJobs::new();
        jobs.expect_renew().returning(|_| Ok(()));
        jobs.expect_promote().returning(|| Ok(0));
        jobs.expect_release().times(1).returning(|_| Ok(()));
        let lease = Arc::new(Lease::new(Arc::clone(&clock)));
        let tend = TendJobs::new(Arc::new(jobs), clock, lease, "w".to_owned());
        let takes = Takes { time, now: AtomicUsize::new(0), most: AtomicUsize::new(0) };
        let takes = Arc::new(takes);
        let mut handlers = Handlers::default();
        handlers.add::<Noop>(Arc::clone(&takes));
        let poll_interval = Duration::from_secs(1);
        let settings = RunnerSettings { workers: 3, poll_interval, finish_within: FINISH_WITHIN };
        let runner = Runner::new(worker, handlers, tend, Arc::new(NoNotifications), settings);
        let stop = CancellationToken::new();

        tokio::join!(runner.run(successes, stop.clone()), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            at_stop();
            stop.cancel();
        });

        takes.most.load(Ordering::Relaxed)
    }

    fn count(states: &[State], state: &State) -> usize {
        states.iter().filter(|other| *other == state).count()
    }

    #[tokio::test(start_paused = true)]
    async fn all_jobs_are_done_and_no_more_run_at_a_time_than_there_are_slots() {
        let (states, most) = after_a_second(Duration::from_millis(1)).await;

        assert_eq!((count(&states, &State::Done), most), (20, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_stop_jobs_that_run_finish_or_are_given_back_and_no_other_begins() {
        let (finish, _) = after_a_second(FINISH_WITHIN).await;
        let (long, _) = after_a_second(2 * FINISH_WITHIN).await;

        assert_eq!((count(&finish, &State::Done), count(&finish, &State::Waiting)), (3, 17));
        assert_eq!(count(&long, &State::Waiting), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_claim_brings_after_the_stop_is_given_back() {
        let mut attempts = FakeAttempts::waiting(20);
        attempts.claims_take = Duration::from_secs(2);
        let attempts = Arc::new(attempts);

        stopped_after_a_second(&attempts, Duration::ZERO, || {}).await;

        assert_eq!(attempts.wanted(), [3]);
        assert_eq!(count(&attempts.states(), &State::Waiting), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_stops_in_time_also_while_postgresql_is_away() {
        let attempts = Arc::new(FakeAttempts::waiting(20));
        let since = Instant::now();

        let away = || attempts.is_away.store(true, Ordering::Relaxed);
        stopped_after_a_second(&attempts, 2 * FINISH_WITHIN, away).await;

        assert!(since.elapsed() <= FINISH_WITHIN + 2 * STUCK_AFTER, "{:?}", since.elapsed());
        assert_eq!(count(&attempts.states(), &State::Running), 3);
    }
}
