//! The states of a circuit and the transitions between them: pure, with the time as a parameter.

use std::time::Duration;

use tokio::time::Instant;

/// What it takes to open and to close.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Failures, without a good probe between them, that open the circuit.
    pub(crate) failures: usize,
    /// How long an open circuit leaves the dependency alone.
    pub(crate) recovery_time: Duration,
    /// Good probes in a row that close a half-open circuit.
    pub(crate) probes: usize,
}

/// Which of the three, and how far it is from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed { failures: usize },
    Open { since: Instant },
    HalfOpen { good_probes: usize },
}

/// A phase, and the number of phases before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) round: u64,
}

/// What moves a circuit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// A caller's call failed.
    CallFailed,
    /// A probe may start, unless the circuit is still open afterwards.
    ProbeDue,
    /// A probe ended that had started in `round`.
    ProbeEnded { good: bool, round: u64 },
}

impl Phase {
    /// Of all phases.
    pub(crate) const NAMES: [&str; 3] = ["closed", "open", "half_open"];

    pub(crate) fn name(self) -> &'static str {
        let [closed, open, half_open] = Self::NAMES;
        match self {
            Self::Closed { .. } => closed,
            Self::Open { .. } => open,
            Self::HalfOpen { .. } => half_open,
        }
    }

    pub(crate) fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

impl State {
    /// Whether the event concerns this state. Events of calls and probes that began before this state do not.
    pub(crate) fn is_moved_by(self, event: Event) -> bool {
        match event {
            Event::CallFailed => self.phase.is_closed(),
            Event::ProbeEnded { round, .. } => round == self.round,
            Event::ProbeDue => true,
        }
    }
}

impl Limits {
    /// The state after an event.
    pub(crate) fn next(&self, state: State, event: Event, now: Instant) -> State {
        let stay = |phase| State { phase, ..state };
        let change = |phase| State { phase, round: state.round + 1 };
        match (state.phase, event) {
            // What it found is older than the circuit's last change.
            (_, Event::ProbeEnded { round, .. }) if round != state.round => state,
            (
                Phase::Closed { failures },
                Event::CallFailed | Event::ProbeEnded { good: false, .. },
            ) => {
                if failures + 1 < self.failures {
                    stay(Phase::Closed { failures: failures + 1 })
                } else {
                    change(Phase::Open { since: now })
                }
            }
            (Phase::Closed { .. }, Event::ProbeEnded { good: true, .. }) => {
                stay(Phase::Closed { failures: 0 })
            }
            (Phase::Open { since }, Event::ProbeDue)
                if now.duration_since(since) >= self.recovery_time =>
            {
                change(Phase::HalfOpen { good_probes: 0 })
            }
            (Phase::HalfOpen { good_probes }, Event::ProbeEnded { good: true, .. }) => {
                if good_probes + 1 < self.probes {
                    stay(Phase::HalfOpen { good_probes: good_probes + 1 })
                } else {
                    change(Phase::Closed { failures: 0 })
                }
            }
            (Phase::HalfOpen { .. }, Event::ProbeEnded { good: false, .. }) => {
                change(Phase::Open { since: now })
            }
            // A call that began before the circuit opened is no probe.
            (Phase::Open { .. } | Phase::HalfOpen { .. }, Event::CallFailed)
            | (Phase::Open { .. }, Event::ProbeEnded { .. })
            | (_, Event::ProbeDue) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECOVERY_TIME: Duration = Duration::from_secs(5);
    const ALMOST_RECOVERED: Duration = Duration::from_millis(4_999);
    const LIMITS: Limits = Limits { failures: 3, recovery_time: RECOVERY_TIME, probes: 2 };

    fn closed(failures: usize) -> State {
        State { phase: Phase::Closed { failures }, round: 6 }
    }

    fn open(since: Instant) -> State {
        State { phase: Phase::Open { since }, round: 7 }
    }

    fn half_open(good_probes: usize) -> State {
        State { phase: Phase::HalfOpen { good_probes }, round: 8 }
    }

    fn closed_again() -> State {
        State { phase: Phase::Closed { failures: 0 }, round: 9 }
    }

    /// The end of a probe that had started in a state.
    fn ended(good: bool, started: State) -> Event {
        Event::ProbeEnded { good, round: started.round }
    }

    #[test]
    fn the_last_of_the_failures_opens_it_whether_of_a_call_or_of_a_probe() {
        let now = Instant::now();

        for failure in [Event::CallFailed, ended(false, closed(0))] {
            assert_eq!(LIMITS.next(closed(0), failure, now), closed(1));
            assert_eq!(LIMITS.next(closed(1), failure, now), closed(2));
            assert_eq!(LIMITS.next(closed(2), failure, now), open(now));
        }
    }

    #[test]
    fn a_good_probe_of_a_closed_circuit_resets_the_failures() {
        let probed = LIMITS.next(closed(2), ended(true, closed(2)), Instant::now());

        assert_eq!(probed, closed(0));
    }

    #[test]
    fn it_is_half_open_when_a_probe_is_due_after_the_recovery_time_and_not_before() {
        let opened = Instant::now();
        let due_after = |time| LIMITS.next(open(opened), Event::ProbeDue, opened + time);

        assert_eq!(due_after(Duration::ZERO), open(opened));
        assert_eq!(due_after(ALMOST_RECOVERED), open(opened));
        assert_eq!(due_after(RECOVERY_TIME), half_open(0));
    }

    #[test]
    fn a_probe_that_is_due_changes_neither_a_closed_nor_a_half_open_circuit() {
        for state in [closed(2), half_open(1)] {
            assert_eq!(LIMITS.next(state, Event::ProbeDue, Instant::now()), state);
        }
    }

    #[test]
    fn the_last_of_the_good_probes_closes_it() {
        let good = ended(true, half_open(0));

        assert_eq!(LIMITS.next(half_open(0), good, Instant::now()), half_open(1));
        assert_eq!(LIMITS.next(half_open(1), good, Instant::now()), closed_again());
    }

    #[test]
    fn a_bad_probe_opens_it_again_and_the_recovery_time_starts_anew() {
        let now = Instant::now();

        let probed = LIMITS.next(half_open(1), ended(false, half_open(1)), now);

        assert_eq!(probed, State { phase: Phase::Open { since: now }, round: 9 });
    }

    #[test]
    fn calls_that_fail_after_it_opened_change_nothing() {
        let now = Instant::now();

        for state in [open(now), half_open(1)] {
            assert_eq!(LIMITS.next(state, Event::CallFailed, now + RECOVERY_TIME), state);
        }
    }

    #[test]
    fn a_probe_that_started_in_an_earlier_round_changes_nothing() {
        let now = Instant::now();
        let rounds = [closed(2), open(now), half_open(1), closed_again()];

        for (position, state) in rounds.into_iter().enumerate() {
            for started in &rounds[..position] {
                for good in [true, false] {
                    assert_eq!(LIMITS.next(state, ended(good, *started), now), state);
                }
            }
        }
    }
}
