//! Circuit breaker: keeps callers away from a dependency that fails, and finds out when it is back.
//!
//! - *closed*: calls go through. `failures` failures without a good probe between them open it.
//! - *open*: callers fail at once, without a wait. Nothing is probed until the recovery time has passed.
//! - *half open*: only probes go through. `probes` good ones in a row close it, a bad one opens it again.
//!
//! Callers report failures, or a doubt where only their own connection may have failed: the next probe then runs at once and
//! decides. They do not report successes, which prove little: a server that refuses writes still reads. Only a probe closes
//! the circuit, so it has to try everything that callers need.
//!
//! A reported failure has a reason: the line that opens the circuit and the health checks show the [`Reason`].
//!
//! [`state`] holds the transitions, [`outage`] the reasons, [`metrics`] the gauges.

mod metrics;
mod outage;
mod reason;
mod state;
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::metrics::Gauges;
use self::outage::Outage;
use self::state::{Event, Limits, Phase, State};
use crate::config::{CircuitConfig, CircuitMode};

pub(crate) use self::metrics::CircuitMetrics;
pub(crate) use self::reason::Reason;

/// The recovery time varies by up to this many percent either way, so that instances do not all probe at the same moment.
const JITTER: u32 = 25;

/// What is known about the dependency.
#[derive(Debug)]
struct Known {
    state: State,
    outage: Outage,
}

/// The circuit to one dependency.
#[derive(Debug)]
pub(crate) struct Circuit {
    dependency: &'static str,
    mode: CircuitMode,
    limits: Limits,
    probe_interval: Duration,
    state: Mutex<Known>,
    /// Whether `state` is closed, for requests: they take no lock.
    is_closed: AtomicBool,
    /// The same, for those who wait for a change.
    closed: watch::Sender<bool>,
    /// The next probe is due now.
    doubts: Notify,
    gauges: Gauges,
}

impl Circuit {
    /// Closed, unless the configuration forces it open.
    pub(crate) fn new(
        dependency: &'static str,
        config: &CircuitConfig,
        metrics: &CircuitMetrics,
    ) -> Self {
        let phase = match config.mode {
            CircuitMode::Auto | CircuitMode::Closed => Phase::Closed { failures: 0 },
            CircuitMode::Open => Phase::Open { since: Instant::now() },
        };
        let gauges = metrics.of(dependency);
        gauges.show(phase.name());
        Self {
            dependency,
            mode: config.mode,
            limits: Limits {
                failures: config.failures,
                recovery_time: jittered(config.recovery_time),
                probes: config.probes,
            },
            probe_interval: config.probe_interval,
            state: Mutex::new(Known {
                state: State { phase, round: 0 },
                outage: Outage::unless(phase.is_closed()),
            }),
            is_closed: AtomicBool::new(phase.is_closed()),
            closed: watch::Sender::new(phase.is_closed()),
            doubts: Notify::new(),
            gauges,
        }
    }

    /// Whether callers may go through. One atomic load: every request makes it.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: callers that find it closed again see what the probes before that have written, such as marks on stale
        // connections.
        self.is_closed.load(Ordering::Acquire)
    }

    /// Returns as soon as callers may not go through any more.
    pub(crate) async fn opened(&self) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| !closed).await;
    }

    /// `closed`; or `open` or `half_open` with the reason: `open: connection refused`.
    pub(crate) fn describe(&self) -> String {
        let known = self.lock();
        let name = known.state.phase.name();
        match known.outage.reason() {
            Some(reason) if !known.state.phase.is_closed() => format!("{name}: {reason}"),
            _ => name.to_owned(),
        }
    }

    /// Reports a call that failed because of the dependency.
    pub(crate) fn failed(&self, reason: Reason) {
        self.apply(Event::CallFailed, Some(reason));
    }

    /// Reports a call that failed, perhaps because of the dependency: the next probe runs now and decides.
    pub(crate) fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// Probes at intervals until `stop`. `probe` returns whether the dependency does everything that callers need, or why not; it
    /// is not called while the circuit is open.
    pub(crate) async fn watch<F>(&self, stop: CancellationToken, mut probe: impl FnMut() -> F)
    where
        F: Future<Output = Result<(), Reason>>,
    {
        loop {
            self.run_probe(&mut probe).await;
            let phase = self.phase();
            let pause = match (self.mode, phase) {
                (CircuitMode::Auto, Phase::Open { .. }) => self.limits.recovery_time,
                // After one good probe the others follow at once.
                (CircuitMode::Auto, Phase::HalfOpen { .. }) => Duration::ZERO,
                _ => self.probe_interval,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.doubts.notified(), if phase.is_closed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn run_probe<F>(&self, probe: impl FnOnce() -> F)
    where
        F: Future<Output = Result<(), Reason>>,
    {
        let State { phase, round } = self.apply(Event::ProbeDue, None);
        // A circuit that is forced open probes all the same: the metrics still show how the dependency does.
        if self.mode == CircuitMode::Auto && matches!(phase, Phase::Open { .. }) {
            return;
        }
        let probed = probe().await;
        self.apply(Event::ProbeEnded { good: probed.is_ok(), round }, probed.err());
    }

    /// Returns the state after the event. `reason` is that of a failure.
    fn apply(&self, event: Event, reason: Option<Reason>) -> State {
        let mut known = self.lock();
        if self.mode == CircuitMode::Auto {
            let before = known.state;
            if let Some(reason) = reason
                && before.is_moved_by(event)
            {
                known.outage.failed(reason);
            }
            known.state = self.limits.next(before, event, Instant::now());
            if known.state.round != before.round {
                // Still under the lock, so that changes show in their order.
                self.show_change(before.phase, &mut known);
            }
        }
        known.state
    }

    fn show_change(&self, from: Phase, known: &mut Known) {
        let to = known.state.phase;
        self.is_closed.store(to.is_closed(), Ordering::Release);
        self.closed.send_replace(to.is_closed());
        self.gauges.show(to.name());
        let dependency = self.dependency;
        // One line each way and for each reason, however often a dependency that stays away is tried.
        match (from, to) {
            (Phase::Closed { .. }, _) => {
                let reason = known.outage.report().map(|reason| reason.to_string());
                tracing::warn!(dependency, reason, "the circuit is open: going on without it");
            }
            (_, Phase::Closed { .. }) => {
                known.outage = Outage::default();
                tracing::info!(dependency, "the circuit is closed: it is back");
            }
            _ => {
                if let Phase::Open { .. } = to
                    && let Some(reason) = known.outage.report()
                {
                    tracing::warn!(dependency, %reason, "the circuit stays open for another reason");
                }
                tracing::debug!(dependency, state = to.name(), "the circuit tries again");
            }
        }
    }

    fn phase(&self) -> Phase {
        self.lock().state.phase
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Varied by [`JITTER`].
fn jittered(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % (2 * u64::from(JITTER) + 1);
    let percent = u32::try_from(random).unwrap_or(JITTER) + 100 - JITTER;
    time * percent / 100
}
