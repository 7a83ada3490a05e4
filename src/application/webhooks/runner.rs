//! Delivers to one endpoint, until it is told to stop or loses the lease: does what [`Delivery`] asks for, everything at the same
//! time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, Either, FutureExt, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use super::delivery::{Delivery, DeliveryLimits, Done, Job, Source};
use crate::application::ports::{
    Causes, Clock, DeliveryMetrics, DeliveryStore, EventLog, Leased, Message, Pause, WebhookId,
    WebhookSender,
};

/// Events that one read of the log is to return.
const READ_EVENTS: usize = 512;
/// Events that wait and are loaded at once.
const LOAD_EVENTS: u32 = 128;
/// How often a delivery looks at the time.
const TICK: Duration = Duration::from_millis(100);
/// Pause after what waits could not be read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What deliveries need.
#[derive(Clone)]
pub struct DeliveryPorts {
    /// Keeps leases and progress.
    pub store: Arc<dyn DeliveryStore>,
    /// Sends.
    pub sender: Arc<dyn WebhookSender>,
    /// What is sent.
    pub log: Arc<dyn EventLog>,
    /// This process's clock.
    pub clock: Arc<dyn Clock>,
    /// Sleeps.
    pub pause: Arc<dyn Pause>,
    /// Counts.
    pub metrics: Arc<dyn DeliveryMetrics>,
}

/// What a delivery is told: again and again, while it may go on.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    /// The newest batch of the log.
    pub(crate) log_end: i64,
    /// The endpoint, as the store has it.
    pub(crate) endpoint: Arc<Leased>,
    /// The lease may be another's after this time.
    pub(crate) until: Duration,
    /// The time by this process's clock and by the database's.
    pub(crate) now: (Duration, DateTime<Utc>),
    /// Whether to end.
    pub(crate) stop: bool,
}

impl Instruction {
    /// The database's time.
    fn time(&self, now: Duration) -> DateTime<Utc> {
        self.now.1 + now.saturating_sub(self.now.0)
    }
}

/// What has happened.
enum Happened {
    Done(Done),
    Tick,
}

/// A delivery to one endpoint.
pub(crate) struct Runner {
    /// What it needs.
    pub(crate) ports: DeliveryPorts,
    /// Its bounds.
    pub(crate) limits: DeliveryLimits,
    /// The owner of the lease.
    pub(crate) owner: Arc<str>,
}

impl Runner {
    /// Runs it. Afterwards the lease is free, unless another has it already.
    pub(crate) async fn run(self, mut instructions: watch::Receiver<Instruction>) {
        let id = instructions.borrow().endpoint.id.clone();
        if let Some(delivery) = self.resume(&id, &mut instructions).await {
            self.deliver(delivery, &id, &mut instructions).await;
        }
        if let Err(error) = self.ports.store.release(&id, &self.owner).await {
            tracing::debug!(webhook = %id, error = %Causes(&error), "a lease is not given back: it expires");
        }
    }

    /// Reads what waits. `None` if it is told to stop meanwhile.
    async fn resume(
        &self,
        id: &WebhookId,
        instructions: &mut watch::Receiver<Instruction>,
    ) -> Option<Delivery> {
        loop {
            let instruction = instructions.borrow_and_update().clone();
            let now = self.ports.clock.monotonic();
            if instruction.stop || now >= instruction.until {
                return None;
            }
            match self.ports.store.held(id).await {
                Ok(held) => {
                    let endpoint = Leased::clone(&instruction.endpoint);
                    return Some(Delivery::resume(endpoint, self.limits, &held, now));
                }
                Err(error) => {
                    tracing::debug!(webhook = %id, error = %Causes(&error), "cannot read what waits");
                    self.ports.pause.pause(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn deliver(
        &self,
        mut delivery: Delivery,
        id: &WebhookId,
        instructions: &mut watch::Receiver<Instruction>,
    ) {
        let mut running: FuturesUnordered<BoxFuture<'_, Happened>> = FuturesUnordered::new();
        running.push(self.tick());
        loop {
            let instruction = instructions.borrow_and_update().clone();
            let now = self.ports.clock.monotonic();
            delivery.instruct(instruction.log_end, instruction.endpoint.replay);
            if instruction.stop || now >= instruction.until {
                delivery.stop(now);
            }
            for job in delivery.jobs(now) {
                running.push(self.perform(job, id, &instruction, now));
            }
            if delivery.is_over(now) {
                return;
            }
            let happened = match select(running.next(), Box::pin(instructions.changed())).await {
                Either::Left((happened, _)) => happened,
                Either::Right((Ok(()), _)) => continue,
                // The lease is not renewed any more.
                Either::Right((Err(_), _)) => return,
            };
            // Answers come in bursts: what has ended by now needs one look at what to do next.
            let mut happened = Some(happened);
            for _ in 0..=self.limits.concurrency {
                match happened {
                    Some(Some(Happened::Done(done))) => {
                        let now = self.ports.clock.monotonic();
                        delivery.done(done, now, &*self.ports.metrics);
                    }
                    Some(Some(Happened::Tick) | None) => running.push(self.tick()),
                    None => break,
                }
                happened = running.next().now_or_never();
            }
        }
    }

    fn tick(&self) -> BoxFuture<'_, Happened> {
        async {
            self.ports.pause.pause(TICK).await;
            Happened::Tick
        }
        .boxed()
    }

    fn perform<'r>(
        &'r self,
        job: Job,
        id: &'r WebhookId,
        instruction: &Instruction,
        now: Duration,
    ) -> BoxFuture<'r, Happened> {
        let ports = &self.ports;
        match job {
            Job::Send(source) => self.send(source, instruction.clone(), now),
            Job::Read(after) => {
                async move { Happened::Done(Done::Read(ports.log.read(after, READ_EVENTS).await)) }.boxed()
            }
            Job::ReadAgain(after) => async move {
                Happened::Done(Done::ReadAgain(ports.log.read(after, READ_EVENTS).await))
            }
            .boxed(),
            Job::Load(anyway) => async move {
                Happened::Done(Done::Loaded(ports.store.due(id, LOAD_EVENTS, anyway).await))
            }
            .boxed(),
            Job::Save(progress) => async move {
                let saved = ports.store.save(id, &self.owner, &progress).await;
                Happened::Done(Done::Saved(progress, saved))
            }
            .boxed(),
            Job::Disable(reason) => async move {
                let disabled = ports.store.disable(id, &self.owner, &reason).await;
                if matches!(disabled, Ok(true)) {
                    tracing::error!(
                        webhook = %id,
                        reason,
                        "an endpoint of webhooks is disabled: `flash-sale webhook resume` enables it"
                    );
                }
                Happened::Done(Done::Disabled(disabled))
            }
            .boxed(),
        }
    }

    fn send(
        &self,
        source: Source,
        instruction: Instruction,
        now: Duration,
    ) -> BoxFuture<'_, Happened> {
        let ports = &self.ports;
        async move {
            let event = source.event();
            let at = instruction.time(now);
            let message = Message { id: event.id.clone(), at, body: event.body.clone() };
            let answer = ports.sender.send(&instruction.endpoint.target, &message).await;
            if answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status)) {
                let written_at = match &source {
                    Source::Log(queued) => Some(queued.written_at),
                    Source::Retry(waiting) => Some(waiting.written_at),
                    // What is sent once more says nothing about how fast events are delivered.
                    Source::Replay(_) => None,
                };
                let at = instruction.time(ports.clock.monotonic());
                let took = written_at.and_then(|written_at| (at - written_at).to_std().ok());
                if let Some(took) = took {
                    ports.metrics.delivered_after(took);
                }
            }
            Happened::Done(Done::Sent(source, answer))
        }
        .boxed()
    }
}
