//! Keeps callers away from a dependency that fails, and finds out when it is back.
//!
//! - *closed*: callers go through. So many failures without a good probe between them open it.
//! - *open*: callers are told at once, without a wait, until the recovery time is over.
//! - *half open*: probes go through and nobody else. So many good ones close it, a bad one opens it again.
//!
//! Callers report failures only, or doubts where a failure may be theirs alone: then the next probe decides, at once. A call
//! that went well says little, because a server that refuses to write still reads. Good news comes from the probe, which has
//! to ask for all that callers need.

use std::fmt;
use std::future::ready;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};
use tower_resilience_circuitbreaker::{
    CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, DefaultClassifier,
};

use crate::config::{CircuitConfig, CircuitMode};

/// The recovery time varies by so many percent either way: instances must not all come back in one moment.
const JITTER: u32 = 25;

/// The circuit to one dependency.
#[derive(Clone)]
pub(crate) struct Circuit {
    mode: CircuitMode,
    breaker: CircuitBreaker<Run, DefaultClassifier>,
    handle: CircuitBreakerHandle,
    /// Between two probes.
    pace: Duration,
    /// How long the dependency is left alone once it is open.
    recovery_time: Duration,
    /// The next probe is due now.
    doubts: Arc<Notify>,
    /// Whether callers may go through, for those who wait.
    closed: watch::Sender<bool>,
}

/// The states of all circuits, for Prometheus.
#[derive(Debug, Clone)]
pub(crate) struct CircuitMetrics {
    states: IntGaugeVec,
}

/// The gauges of one circuit.
#[derive(Debug)]
struct Gauges([(CircuitState, IntGauge); 3]);

/// It failed; how is nobody's business here.
#[derive(Debug)]
struct Failed;

type Outcome = Pin<Box<dyn Future<Output = Result<(), Failed>> + Send>>;

/// What may be let through.
struct Call(Outcome);

/// What the breaker guards: whatever it is handed.
#[derive(Debug, Clone)]
struct Run;

impl Service<Call> for Run {
    type Response = ();
    type Error = Failed;
    type Future = Outcome;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Call(outcome): Call) -> Outcome {
        outcome
    }
}

/// The configuration makes no circuit.
#[derive(Debug, thiserror::Error)]
#[error("no circuit can be made: {0}")]
pub(crate) struct InvalidCircuit(String);

impl Circuit {
    /// Closed, unless the configuration says otherwise.
    pub(crate) fn new(
        dependency: &'static str,
        config: &CircuitConfig,
        metrics: &CircuitMetrics,
    ) -> Result<Self, InvalidCircuit> {
        let gauges = metrics.of(dependency);
        let first = forced(config.mode).unwrap_or(CircuitState::Closed);
        gauges.show(first);
        let closed = watch::Sender::new(first == CircuitState::Closed);
        let (changes, recovery_time) = (closed.clone(), jittered(config.recovery_time));
        let (layer, handle) = CircuitBreakerLayer::builder()
            .name(dependency)
            .consecutive_failures(config.failures)
            .permitted_calls_in_half_open(config.probes)
            .wait_duration_in_open(recovery_time)
            .on_state_transition(move |from, to| {
                gauges.show(to);
                changes.send_replace(to == CircuitState::Closed);
                tell(dependency, from, to);
            })
            .build_with_handle()
            .map_err(|error| InvalidCircuit(error.to_string()))?;
        Ok(Self {
            mode: config.mode,
            breaker: layer.layer_fn(Run),
            handle,
            pace: config.probe_interval,
            recovery_time,
            doubts: Arc::default(),
            closed,
        })
    }

    /// Whether callers may go through. One look at an atomic: it stands in every request's way.
    pub(crate) fn is_closed(&self) -> bool {
        self.state() == CircuitState::Closed
    }

    /// Comes back as soon as callers may not go through any more.
    pub(crate) async fn opened(&self) {
        // The sender lives as long as this does.
        let _ = self.closed.subscribe().wait_for(|closed| !closed).await;
    }

    /// The state's name.
    pub(crate) fn state_name(&self) -> &'static str {
        name(self.state())
    }

    fn state(&self) -> CircuitState {
        forced(self.mode).unwrap_or_else(|| self.handle.state())
    }

    /// A caller's call failed in a way that speaks of the dependency.
    pub(crate) async fn failed(&self) {
        // A call that began before it opened must not pass for a probe.
        if self.handle.state() == CircuitState::Closed {
            self.run(ready(false)).await;
        }
    }

    /// A caller's call failed in a way that may speak of the dependency: the next probe is to tell.
    pub(crate) fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// Probes at its pace until `stop`: whether `probe` found everything that callers need. While the circuit is open it is
    /// not asked.
    pub(crate) async fn watch<F>(&self, stop: CancellationToken, mut probe: impl FnMut() -> F)
    where
        F: Future<Output = bool> + Send + 'static,
    {
        loop {
            self.run(probe()).await;
            let state = self.state();
            let pause = match (self.mode, state) {
                (CircuitMode::Auto, CircuitState::Open) => self.recovery_time,
                // One good probe: the others come at once.
                (CircuitMode::Auto, CircuitState::HalfOpen) => Duration::ZERO,
                _ => self.pace,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.doubts.notified(), if state == CircuitState::Closed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn run(&self, call: impl Future<Output = bool> + Send + 'static) {
        if self.mode != CircuitMode::Auto {
            // Asked all the same: whoever forces it wants to know how the dependency is.
            call.await;
            return;
        }
        let outcome: Outcome = Box::pin(async move { call.await.then_some(()).ok_or(Failed) });
        // What came of it is the breaker's to know, and whether it was let through.
        let _ = self.breaker.clone().oneshot(Call(outcome)).await;
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuit").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Varied by [`JITTER`].
fn jittered(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % (2 * u64::from(JITTER) + 1);
    let percent = u32::try_from(random).unwrap_or(JITTER) + 100 - JITTER;
    time * percent / 100
}

/// One line each way: a dependency that stays away is tried again and again.
fn tell(dependency: &'static str, from: CircuitState, to: CircuitState) {
    match (from, to) {
        (CircuitState::Closed, _) => {
            tracing::warn!(dependency, "the circuit is open: going on without it");
        }
        (_, CircuitState::Closed) => {
            tracing::info!(dependency, "the circuit is closed: it is back");
        }
        _ => tracing::debug!(dependency, state = name(to), "the circuit tries again"),
    }
}

fn forced(mode: CircuitMode) -> Option<CircuitState> {
    match mode {
        CircuitMode::Auto => None,
        CircuitMode::Closed => Some(CircuitState::Closed),
        CircuitMode::Open => Some(CircuitState::Open),
    }
}

fn name(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half_open",
    }
}

impl CircuitMetrics {
    /// Registers them.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let states = IntGaugeVec::new(
            Opts::new(
                "flash_sale_circuit_state",
                "1 for the state that the circuit to a dependency is in; open: callers do not reach it.",
            ),
            &["dependency", "state"],
        )?;
        registry.register(Box::new(states.clone()))?;
        Ok(Self { states })
    }

    fn of(&self, dependency: &str) -> Gauges {
        let states = [CircuitState::Closed, CircuitState::Open, CircuitState::HalfOpen];
        Gauges(
            states.map(|state| (state, self.states.with_label_values(&[dependency, name(state)]))),
        )
    }
}

impl Gauges {
    fn show(&self, current: CircuitState) {
        for (state, gauge) in &self.0 {
            gauge.set(i64::from(*state == current));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const FOREVER: Duration = Duration::from_hours(1);
    const AT_ONCE: Duration = Duration::from_nanos(1);

    fn circuit(mode: CircuitMode, recovery_time: Duration) -> (Circuit, CircuitMetrics) {
        let metrics = CircuitMetrics::register(&Registry::new()).unwrap();
        let config = CircuitConfig {
            mode,
            failures: 3,
            recovery_time,
            probes: 2,
            probe_interval: Duration::from_millis(1),
        };
        (Circuit::new("moon", &config, &metrics).unwrap(), metrics)
    }

    async fn fails(circuit: &Circuit, times: usize) {
        for _ in 0..times {
            circuit.failed().await;
        }
    }

    async fn probes(circuit: &Circuit, good: bool) {
        circuit.run(async move { good }).await;
    }

    fn shown(metrics: &CircuitMetrics) -> Vec<&'static str> {
        let is_shown = |name: &&str| metrics.states.with_label_values(&["moon", *name]).get() == 1;
        ["closed", "open", "half_open"].into_iter().filter(is_shown).collect()
    }

    #[tokio::test]
    async fn so_many_failures_open_it() {
        let (circuit, metrics) = circuit(CircuitMode::Auto, FOREVER);
        assert_eq!((circuit.is_closed(), shown(&metrics)), (true, vec!["closed"]));

        fails(&circuit, 2).await;
        assert!(circuit.is_closed());
        fails(&circuit, 1).await;

        assert_eq!((circuit.is_closed(), shown(&metrics)), (false, vec!["open"]));
    }

    #[tokio::test]
    async fn a_good_probe_between_them_forgets_failures_and_a_bad_one_is_one_more() {
        let (circuit, _) = circuit(CircuitMode::Auto, FOREVER);

        fails(&circuit, 2).await;
        probes(&circuit, true).await;
        fails(&circuit, 2).await;
        assert!(circuit.is_closed());
        probes(&circuit, false).await;

        assert!(!circuit.is_closed());
    }

    #[tokio::test]
    async fn while_it_recovers_nobody_is_asked() {
        let (circuit, _) = circuit(CircuitMode::Auto, FOREVER);
        fails(&circuit, 3).await;
        let asked = Arc::new(AtomicUsize::new(0));

        for _ in 0..5 {
            let asked = Arc::clone(&asked);
            circuit.run(async move { asked.fetch_add(1, Ordering::Relaxed) < usize::MAX }).await;
        }

        assert_eq!((asked.load(Ordering::Relaxed), circuit.is_closed()), (0, false));
    }

    #[tokio::test]
    async fn so_many_good_probes_close_it() {
        let (circuit, metrics) = circuit(CircuitMode::Auto, AT_ONCE);
        fails(&circuit, 3).await;

        probes(&circuit, true).await;
        assert_eq!((circuit.is_closed(), shown(&metrics)), (false, vec!["half_open"]));
        probes(&circuit, true).await;

        assert_eq!((circuit.is_closed(), shown(&metrics)), (true, vec!["closed"]));
    }

    #[tokio::test]
    async fn a_bad_probe_opens_it_again_and_failures_from_before_are_no_probes() {
        let (circuit, metrics) = circuit(CircuitMode::Auto, AT_ONCE);
        fails(&circuit, 3).await;
        probes(&circuit, true).await;

        fails(&circuit, 5).await;
        assert_eq!(shown(&metrics), ["half_open"]);
        probes(&circuit, false).await;
        assert_eq!(shown(&metrics), ["open"]);
        fails(&circuit, 5).await;

        assert_eq!(shown(&metrics), ["open"]);
        probes(&circuit, true).await;
        probes(&circuit, true).await;
        assert!(circuit.is_closed());
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_it_opens() {
        let (circuit, _) = circuit(CircuitMode::Auto, FOREVER);
        let mut waits = Box::pin(circuit.opened());
        fails(&circuit, 2).await;
        assert!(futures_util::poll!(&mut waits).is_pending());
        fails(&circuit, 1).await;
        waits.await;

        let (forced, _) = self::circuit(CircuitMode::Open, FOREVER);
        forced.opened().await;
    }

    #[tokio::test]
    async fn while_it_recovers_the_watch_rests_and_then_it_probes_as_often_as_it_takes() {
        let (circuit, _) = circuit(CircuitMode::Auto, Duration::from_millis(200));
        fails(&circuit, 3).await;
        let (stop, rounds) = (CancellationToken::new(), AtomicUsize::new(0));
        let watching = circuit.watch(stop.clone(), || {
            rounds.fetch_add(1, Ordering::Relaxed);
            if circuit.is_closed() {
                stop.cancel();
            }
            async { true }
        });

        watching.await;

        // One while it is left alone, two that close it, one that sees it.
        let rounds = rounds.load(Ordering::Relaxed);
        assert!((3..=5).contains(&rounds), "{rounds}");
    }

    #[tokio::test]
    async fn whoever_is_forced_stays() {
        let (open, shows_open) = circuit(CircuitMode::Open, AT_ONCE);
        let (closed, shows_closed) = circuit(CircuitMode::Closed, AT_ONCE);

        for circuit in [&open, &closed] {
            fails(circuit, 5).await;
            probes(circuit, true).await;
            probes(circuit, false).await;
            probes(circuit, true).await;
        }

        assert_eq!((open.is_closed(), shown(&shows_open)), (false, vec!["open"]));
        assert_eq!((closed.is_closed(), shown(&shows_closed)), (true, vec!["closed"]));
    }

    #[test]
    fn recovery_times_vary_by_a_quarter_and_are_not_all_the_same() {
        let times: Vec<_> = (0..100).map(|_| jittered(Duration::from_secs(100))).collect();

        assert!(times.iter().all(|time| (75..=125).contains(&time.as_secs())), "{times:?}");
        assert!(times.iter().any(|time| *time != times[0]), "{times:?}");
    }
}
