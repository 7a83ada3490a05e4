//! Which endpoints this process delivers to: those whose lease it holds. Each has a task of its own, so that a slow one delays no
//! other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, Either, FutureExt, select};
use tokio::sync::watch;

use super::delivery::DeliveryLimits;
use super::runner::{DeliveryPorts, Instruction, Runner};
use crate::application::ports::{Causes, Leased, PortError, WebhookId};

/// Term of a lease: a process that dies is succeeded after this time.
const TERM: Duration = Duration::from_secs(5);
/// Part of the term that a process does not use: the store may leave a fifth of it unrenewed, and clocks run differently.
const MARGIN: Duration = Duration::from_millis(1200);
/// How often leases are renewed, and changes by operators noticed.
const LEASE_INTERVAL: Duration = Duration::from_millis(500);
/// How often the log's end is looked at.
const LOG_INTERVAL: Duration = Duration::from_millis(50);
/// How often the gauges are updated.
const OVERVIEW_INTERVAL: Duration = Duration::from_secs(10);

/// Starts a task.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// Delivers events to endpoints.
pub struct Deliveries {
    ports: DeliveryPorts,
    limits: DeliveryLimits,
    owner: Arc<str>,
    spawn: Spawn,
    running: BTreeMap<WebhookId, watch::Sender<Instruction>>,
    log_end: i64,
    /// When leases are looked at again, and when the gauges are updated.
    lease_at: Duration,
    overview_at: Duration,
    is_failing: bool,
}

impl Deliveries {
    /// Leases belong to `owner`, which no other process may be called.
    #[must_use]
    pub fn new(ports: DeliveryPorts, limits: DeliveryLimits, owner: &str, spawn: Spawn) -> Self {
        Self {
            lease_at: ports.clock.monotonic(),
            overview_at: ports.clock.monotonic(),
            ports,
            limits,
            owner: owner.into(),
            spawn,
            running: BTreeMap::new(),
            log_end: 0,
            is_failing: false,
        }
    }

    /// Runs until `stop` completes. Then deliveries send nothing more, and end when what they have achieved is stored.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop.fuse());
        loop {
            let looked = self.look().await;
            // Without endpoints nothing waits.
            if let Err(error) = &looked
                && !self.is_failing
                && !self.running.is_empty()
            {
                tracing::warn!(error = %Causes(error), "webhooks wait: their endpoints or events cannot be read");
            }
            self.is_failing = looked.is_err();
            let pause = if self.is_failing || self.running.is_empty() {
                LEASE_INTERVAL
            } else {
                LOG_INTERVAL
            };
            let pause = self.ports.pause.pause(pause);
            if let Either::Right(_) = select(pause, &mut stop).await {
                break;
            }
        }
        for running in self.running.values() {
            running.send_modify(|instruction| instruction.stop = true);
        }
        for running in self.running.values() {
            running.closed().await;
        }
    }

    async fn look(&mut self) -> Result<(), PortError> {
        let now = self.ports.clock.monotonic();
        self.running.retain(|_, running| !running.is_closed());
        if now >= self.lease_at {
            let leased = self.ports.store.lease(&self.owner, TERM).await?;
            self.lease_at = now + LEASE_INTERVAL;
            self.lead(leased, now);
        }
        if now >= self.overview_at {
            self.ports.metrics.overview(&self.ports.store.overview().await?);
            self.overview_at = now + OVERVIEW_INTERVAL;
        }
        if !self.running.is_empty() {
            self.log_end = self.log_end.max(self.ports.log.end().await?);
        }
        let mut pending = 0;
        for running in self.running.values() {
            running.send_if_modified(|instruction| {
                let has_grown = instruction.log_end < self.log_end;
                instruction.log_end = instruction.log_end.max(self.log_end);
                has_grown
            });
            pending = pending.max(self.log_end - running.borrow().endpoint.position);
        }
        self.ports.metrics.pending(pending.max(0));
        Ok(())
    }

    /// Starts and stops deliveries. The leases were taken after `asked`.
    fn lead(&mut self, leased: Vec<Leased>, asked: Duration) {
        let mut leased: BTreeMap<_, _> =
            leased.into_iter().map(|leased| (leased.id.clone(), Arc::new(leased))).collect();
        let until = asked + TERM.saturating_sub(MARGIN);
        for (id, running) in &self.running {
            let endpoint = leased.remove(id);
            running.send_modify(|instruction| match endpoint {
                // What it has in memory is outdated: it is started again when it has ended.
                Some(endpoint) if endpoint.revision != instruction.endpoint.revision => {
                    instruction.stop = true;
                }
                Some(endpoint) => {
                    instruction.until = until;
                    instruction.now = (asked, endpoint.target.read_at);
                    instruction.endpoint = endpoint;
                }
                None => instruction.stop = true,
            });
        }
        for (id, endpoint) in leased {
            self.start(id, endpoint, until, asked);
        }
    }

    fn start(&mut self, id: WebhookId, endpoint: Arc<Leased>, until: Duration, asked: Duration) {
        let read_at: DateTime<Utc> = endpoint.target.read_at;
        let log_end = self.log_end.max(endpoint.position);
        let now = (asked, read_at);
        let (sender, receiver) =
            watch::channel(Instruction { log_end, endpoint, until, now, stop: false });
        let runner = Runner {
            ports: self.ports.clone(),
            limits: self.limits,
            owner: Arc::clone(&self.owner),
        };
        (self.spawn)(runner.run(receiver).boxed());
        self.running.insert(id, sender);
    }
}
