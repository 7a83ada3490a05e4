//! A worker from start to stop.

use std::sync::Arc;
use std::time::Duration;

use riverqueue::sqlx::PgPool;
use riverqueue::{Client, QueueConfig, Workers};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::attempt::TypeWorker;
use super::desk::Desk;
use super::types::TYPES;
use super::types::payload::{Handler, Payload, SHARED_QUEUE};
use crate::application::jobs::tend::TendJobs;
use crate::application::ports::{Causes, TakenOver};
use crate::domain::job::JobState;

/// Time between two renewals of the lease: several fit into it.
const TEND_INTERVAL: Duration = Duration::from_millis(500);
/// The least time between two fetches of a queue. Short, because a fetch after a pause begins at once anyway; without it, each of ten
/// jobs that end together would fetch one.
const FETCH_COOLDOWN: Duration = Duration::from_millis(2);
/// An attempt that ignores its cancellation, because it blocks its thread, is abandoned after this time.
const STUCK_AFTER: Duration = Duration::from_secs(2);
/// At the start the lease begins within some of these.
const LEASE_LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Pause before a worker that River has ended starts again.
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// The workers' settings are not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidWorkers {
    /// River refuses them.
    #[error("cannot set up the job workers: {0}")]
    Settings(#[from] riverqueue::Error),
    /// A type can be enqueued, and nothing runs it.
    #[error("no handler runs jobs of type {0}")]
    Missing(&'static str),
}

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
pub(crate) struct Handlers {
    workers: Workers,
    desk: Arc<Desk>,
}

impl Handlers {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { workers: Workers::new(), desk: Arc::new(desk) }
    }

    /// Runs the jobs of a type with this handler.
    pub(crate) fn add<P: Payload>(
        &mut self,
        handler: impl Handler<P>,
    ) -> Result<(), InvalidWorkers> {
        let worker = TypeWorker { handler: Arc::new(handler), desk: Arc::clone(&self.desk) };
        self.workers.add(worker)?;
        Ok(())
    }

    /// These handlers, if every type has one: what can be enqueued must be run.
    pub(crate) fn complete(self) -> Result<Self, InvalidWorkers> {
        let kinds = self.workers.kinds();
        match TYPES.iter().find(|spec| !kinds.contains(&spec.name)) {
            Some(spec) => Err(InvalidWorkers::Missing(spec.name)),
            None => Ok(self),
        }
    }
}

/// A worker.
pub(crate) struct Runner {
    client: Client,
    tend: TendJobs,
    desk: Arc<Desk>,
    poll_interval: Duration,
}

fn queue(slots: usize, poll_interval: Duration) -> QueueConfig {
    QueueConfig::new(slots).with_fetch_poll_interval(poll_interval)
}

impl Runner {
    pub(crate) fn new(
        pool: PgPool,
        handlers: Handlers,
        tend: TendJobs,
        settings: RunnerSettings,
    ) -> Result<Self, InvalidWorkers> {
        let Handlers { workers, desk } = handlers;
        // River refuses to read a queue less often than it may fetch from it.
        let poll_interval = settings.poll_interval.max(FETCH_COOLDOWN);
        let queue = |slots| queue(slots, poll_interval);
        let mut builder = Client::builder(pool)
            .id(desk.worker.clone())
            .workers(workers)
            .queue(SHARED_QUEUE, queue(settings.workers))
            .fetch_cooldown(FETCH_COOLDOWN)
            .fetch_only_known_kinds(true)
            .job_timeout(desk.timeout)
            .job_stuck_threshold(STUCK_AFTER)
            .soft_stop_timeout(settings.finish_within)
            .without_leader_election();
        for spec in TYPES {
            if let Some(slots) = spec.limits.concurrency {
                builder = builder.queue(spec.queue(), queue(slots));
            }
        }
        Ok(Self { client: builder.build()?, tend, desk, poll_interval })
    }

    /// Runs jobs until `stop`. Then running jobs finish, or are given back, and the lease ends.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let ended = CancellationToken::new();
        // Until the last job has ended: they are this worker's as long as it renews its lease.
        tokio::join!(self.tend(&ended), ended.run_until_cancelled(self.claim_ahead()), async {
            self.work(&stop).await;
            ended.cancel();
        });
        if let Err(error) = self.tend.release().await {
            tracing::warn!(error = %Causes(&error), "the lease of this worker ends by itself");
        }
    }

    /// Claims as many jobs as can begin within a moment.
    async fn claim_ahead(&self) {
        let claim = |jobs| {
            let queue = queue(jobs, self.poll_interval);
            if let Err(error) = self.client.local_queues().update(SHARED_QUEUE, queue) {
                tracing::warn!(error = %Causes(&error), "jobs are claimed as before");
            }
        };
        self.desk.turns.follow(claim).await;
    }

    async fn work(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // A job that is claimed without a lease looks like a dead worker's.
            if self.desk.lease.remaining().is_zero() {
                stop.run_until_cancelled(tokio::time::sleep(LEASE_LOOK_INTERVAL)).await;
                continue;
            }
            let mut run = match self.client.start() {
                Ok(run) => run,
                Err(error) => {
                    tracing::error!(error = %Causes(&error), "cannot start the job workers");
                    return;
                }
            };
            let ended = tokio::select! {
                ended = run.wait() => ended,
                () = stop.cancelled() => run.stop().await,
            };
            if let Err(error) = ended {
                tracing::error!(error = %Causes(&error), "the job workers ended");
            }
            stop.run_until_cancelled(tokio::time::sleep(RESTART_DELAY)).await;
        }
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
        self.desk.metrics.took_over(taken.len());
        for job in taken.iter().filter(|job| job.state == JobState::Dead) {
            self.desk.died(job);
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
