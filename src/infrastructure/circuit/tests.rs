//! A circuit with its probes, gauges and clock.

#![cfg(test)]

use std::cell::{Cell, RefCell};
use std::future::ready;
use std::sync::Barrier;
use std::thread;

use prometheus::Registry;
use tokio::sync::oneshot;

use super::*;

const FOREVER: Duration = Duration::from_hours(1);
const AT_ONCE: Duration = Duration::ZERO;

/// Opens after three failures and closes after two good probes.
fn circuit(mode: CircuitMode, recovery_time: Duration) -> (Circuit, CircuitMetrics) {
    let metrics = CircuitMetrics::register(&Registry::new()).unwrap();
    let config = CircuitConfig {
        mode,
        failures: 3,
        recovery_time,
        probes: 2,
        probe_interval: Duration::from_millis(1),
    };
    (Circuit::new("moon", &config, &metrics), metrics)
}

fn fails(circuit: &Circuit, times: usize) {
    for _ in 0..times {
        circuit.failed(away("no answer"));
    }
}

fn away(reason: &str) -> Reason {
    Reason::new(reason)
}

/// The result of a probe.
fn result(good: bool) -> Result<(), Reason> {
    if good { Ok(()) } else { Err(away("no answer")) }
}

async fn probes(circuit: &Circuit, good: bool) {
    circuit.run_probe(|| ready(result(good))).await;
}

fn shown(metrics: &CircuitMetrics) -> Vec<&'static str> {
    let is_shown = |name: &&str| metrics.states.with_label_values(&["moon", *name]).get() == 1;
    ["closed", "open", "half_open"].into_iter().filter(is_shown).collect()
}

#[test]
fn three_failures_open_it() {
    let (circuit, metrics) = circuit(CircuitMode::Auto, FOREVER);
    assert_eq!((circuit.is_closed(), shown(&metrics)), (true, vec!["closed"]));

    fails(&circuit, 2);
    assert!(circuit.is_closed());
    fails(&circuit, 1);

    assert_eq!((circuit.is_closed(), shown(&metrics)), (false, vec!["open"]));
    assert_eq!(circuit.describe(), "open: no answer");
}

#[tokio::test]
async fn it_tells_why_the_last_call_or_probe_failed_until_it_is_closed_again() {
    let (circuit, _) = circuit(CircuitMode::Auto, AT_ONCE);
    circuit.failed(away("connection refused"));
    circuit.failed(away("connection refused"));
    assert_eq!(circuit.describe(), "closed");

    circuit.failed(away("no answer"));
    assert_eq!(circuit.describe(), "open: no answer");
    // It began before the circuit opened.
    circuit.failed(away("broken pipe"));
    circuit.run_probe(|| ready(Err(away("wrong password")))).await;
    assert_eq!(circuit.describe(), "open: wrong password");
    probes(&circuit, true).await;
    assert_eq!(circuit.describe(), "half_open: wrong password");
    probes(&circuit, true).await;
    assert_eq!(circuit.describe(), "closed");

    fails(&circuit, 3);
    assert_eq!(circuit.describe(), "open: no answer");
}

#[test]
fn two_concurrent_failures_count_twice() {
    const EACH: usize = 10_000;
    let (mut circuit, _) = circuit(CircuitMode::Auto, FOREVER);
    circuit.limits.failures = 2 * EACH;
    let both_ready = Barrier::new(2);

    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                both_ready.wait();
                fails(&circuit, EACH);
            });
        }
    });

    // A single lost failure would leave it closed.
    assert!(!circuit.is_closed());
}

#[tokio::test]
async fn a_good_probe_between_failures_resets_them_and_a_bad_one_is_one_more() {
    let (circuit, _) = circuit(CircuitMode::Auto, FOREVER);

    fails(&circuit, 2);
    probes(&circuit, true).await;
    fails(&circuit, 2);
    assert!(circuit.is_closed());
    probes(&circuit, false).await;

    assert!(!circuit.is_closed());
}

#[tokio::test]
async fn nothing_is_probed_before_the_recovery_time_has_passed() {
    let (circuit, _) = circuit(CircuitMode::Auto, FOREVER);
    fails(&circuit, 3);
    let probed = Cell::new(0);

    for _ in 0..5 {
        let probe = || async {
            probed.update(|times| times + 1);
            Ok(())
        };
        circuit.run_probe(probe).await;
    }

    assert_eq!((probed.get(), circuit.is_closed()), (0, false));
}

#[tokio::test]
async fn two_good_probes_close_it() {
    let (circuit, metrics) = circuit(CircuitMode::Auto, AT_ONCE);
    fails(&circuit, 3);

    probes(&circuit, true).await;
    assert_eq!((circuit.is_closed(), shown(&metrics)), (false, vec!["half_open"]));
    probes(&circuit, true).await;

    assert_eq!((circuit.is_closed(), shown(&metrics)), (true, vec!["closed"]));
}

#[tokio::test]
async fn a_bad_probe_opens_it_again_and_calls_that_fail_late_do_not_count_as_probes() {
    let (circuit, metrics) = circuit(CircuitMode::Auto, AT_ONCE);
    fails(&circuit, 3);
    probes(&circuit, true).await;

    fails(&circuit, 5);
    assert_eq!(shown(&metrics), ["half_open"]);
    probes(&circuit, false).await;
    assert_eq!(shown(&metrics), ["open"]);
    fails(&circuit, 5);

    assert_eq!(shown(&metrics), ["open"]);
    probes(&circuit, true).await;
    probes(&circuit, true).await;
    assert!(circuit.is_closed());
}

#[tokio::test]
async fn a_probe_that_started_before_it_opened_neither_closes_nor_opens_it() {
    for good in [true, false] {
        let (circuit, metrics) = circuit(CircuitMode::Auto, AT_ONCE);
        let (ends, end) = oneshot::channel();
        let mut early = Box::pin(circuit.run_probe(|| async move { result(end.await.unwrap()) }));
        assert!(futures_util::poll!(&mut early).is_pending());
        fails(&circuit, 3);
        probes(&circuit, true).await;

        ends.send(good).unwrap();
        early.await;

        assert_eq!(shown(&metrics), ["half_open"]);
        probes(&circuit, true).await;
        assert!(circuit.is_closed());
    }
}

#[tokio::test]
async fn a_wait_for_its_opening_ends_when_it_opens() {
    let (circuit, _) = circuit(CircuitMode::Auto, FOREVER);
    let mut waits = Box::pin(circuit.opened());
    fails(&circuit, 2);
    assert!(futures_util::poll!(&mut waits).is_pending());
    fails(&circuit, 1);
    waits.await;

    let (forced, _) = self::circuit(CircuitMode::Open, FOREVER);
    forced.opened().await;
}

#[tokio::test(start_paused = true)]
async fn the_watch_rests_for_the_recovery_time_and_then_probes_until_the_circuit_is_closed() {
    let (circuit, _) = circuit(CircuitMode::Auto, Duration::from_millis(200));
    let (stop, opened_at) = (CancellationToken::new(), Instant::now());
    fails(&circuit, 3);
    let probed_at = RefCell::new(Vec::new());

    let watching = circuit.watch(stop.clone(), || {
        probed_at.borrow_mut().push(opened_at.elapsed());
        if circuit.is_closed() {
            stop.cancel();
        }
        ready(Ok(()))
    });
    watching.await;

    // Two that close it, one that finds it closed.
    let probed_at = probed_at.take();
    assert_eq!(probed_at.len(), 3, "{probed_at:?}");
    assert!(probed_at[0] >= circuit.limits.recovery_time, "{probed_at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_starts_the_next_probe_at_once() {
    let (mut circuit, _) = circuit(CircuitMode::Auto, FOREVER);
    circuit.probe_interval = FOREVER;
    let (stop, probed, start) = (CancellationToken::new(), Cell::new(0), Instant::now());

    let watching = circuit.watch(stop.clone(), || {
        probed.update(|times| times + 1);
        if probed.get() == 1 {
            circuit.doubt();
        } else {
            stop.cancel();
        }
        ready(Ok(()))
    });
    watching.await;

    assert_eq!((probed.get(), start.elapsed()), (2, Duration::ZERO));
}

#[tokio::test]
async fn a_forced_circuit_keeps_its_state_and_is_probed_all_the_same() {
    let forced_open = "open: the configuration forces it open";
    for (mode, is_closed, name, described) in [
        (CircuitMode::Open, false, "open", forced_open),
        (CircuitMode::Closed, true, "closed", "closed"),
    ] {
        let (circuit, metrics) = circuit(mode, AT_ONCE);
        let probed = Cell::new(0);

        fails(&circuit, 5);
        for good in [true, false, true, true] {
            let probe = || {
                probed.update(|times| times + 1);
                ready(result(good))
            };
            circuit.run_probe(probe).await;
        }

        assert_eq!((circuit.is_closed(), circuit.describe().as_str()), (is_closed, described));
        assert_eq!((shown(&metrics), probed.get()), (vec![name], 4));
    }
}

#[test]
fn recovery_times_vary_by_a_quarter_and_are_not_all_the_same() {
    let times: Vec<_> = (0..100).map(|_| jittered(Duration::from_secs(100))).collect();

    assert!(times.iter().all(|time| (75..=125).contains(&time.as_secs())), "{times:?}");
    assert!(times.iter().any(|time| *time != times[0]), "{times:?}");
}
