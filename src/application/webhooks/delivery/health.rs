//! Whether an endpoint works, fails as a whole, or only refuses single events.

use std::collections::HashSet;
use std::time::Duration;

use crate::application::ports::{Leased, Outage};
use crate::application::webhooks::policy::probe_delay;

/// An endpoint fails as a whole after this many tries without an answer, with no success between them,
const SILENCES: u32 = 3;
/// or after failures of this many events,
const FAILED_EVENTS: usize = 5;
/// or after this many failures of more than one event: few buyers may have events.
const FAILED_TRIES: u32 = 10;

/// The health of an endpoint.
#[derive(Debug)]
pub(super) struct Health {
    endpoint: String,
    outage: Option<Down>,
    silences: u32,
    tries: u32,
    failed_events: HashSet<String>,
}

/// It fails as a whole.
#[derive(Debug)]
struct Down {
    failures: u32,
    failed_before: Duration,
    since: Duration,
    probe_at: Duration,
    probe: Probe,
}

/// The state of the next probe, or of the running one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// It has not begun.
    Waiting,
    /// Events that wait for a retry were loaded for it.
    Loaded,
    /// This many of its events are on their way.
    Sent(usize),
}

impl Health {
    /// What the store knows of it.
    pub(super) fn stored(endpoint: &Leased, now: Duration) -> Self {
        let outage = (endpoint.failures > 0).then(|| Down {
            failures: endpoint.failures,
            failed_before: endpoint.failing_for,
            since: now,
            probe_at: now + endpoint.next_try_in,
            probe: Probe::Waiting,
        });
        let endpoint = endpoint.id.as_str().to_owned();
        Self { endpoint, outage, silences: 0, tries: 0, failed_events: HashSet::new() }
    }

    /// Whether it works, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.outage.is_none()
    }

    /// Records a success. Returns whether the endpoint was down before.
    pub(super) fn succeeded(&mut self) -> bool {
        (self.silences, self.tries) = (0, 0);
        self.failed_events.clear();
        self.outage.take().is_some()
    }

    /// Records a failed event while the endpoint is up. Returns whether the endpoint is down from now on.
    pub(super) fn failed(&mut self, event: &str, is_silence: bool, now: Duration) -> bool {
        self.silences += u32::from(is_silence);
        self.tries = self.tries.saturating_add(1);
        if self.failed_events.len() < FAILED_EVENTS {
            self.failed_events.insert(event.to_owned());
        }
        let events = self.failed_events.len();
        let is_whole = self.silences >= SILENCES
            || events >= FAILED_EVENTS
            || (events > 1 && self.tries >= FAILED_TRIES);
        if is_whole {
            self.rest(now, probe_delay(&self.endpoint, 1));
        }
        is_whole
    }

    /// It gets nothing for a while, and then a probe.
    pub(super) fn rest(&mut self, now: Duration, pause: Duration) {
        self.outage = Some(Down {
            failures: 1,
            failed_before: Duration::ZERO,
            since: now,
            probe_at: now + pause,
            probe: Probe::Waiting,
        });
    }

    /// The state of the probe, if one is due.
    pub(super) fn probe(&self, now: Duration) -> Option<Probe> {
        self.outage.as_ref().filter(|down| now >= down.probe_at).map(|down| down.probe)
    }

    /// The probe goes on.
    pub(super) fn set_probe(&mut self, probe: Probe) {
        if let Some(down) = &mut self.outage {
            down.probe = probe;
        }
    }

    /// An event failed while the endpoint failed as a whole. Those that were on their way when it began are no probes.
    pub(super) fn probe_failed(&mut self, now: Duration, pause: Option<Duration>) {
        let Some(down) = &mut self.outage else { return };
        let Probe::Sent(missing) = down.probe else { return };
        if missing > 1 {
            down.probe = Probe::Sent(missing - 1);
            return;
        }
        down.failures = down.failures.saturating_add(1);
        let pause = pause.unwrap_or_else(|| probe_delay(&self.endpoint, down.failures));
        down.probe_at = now + pause;
        down.probe = Probe::Waiting;
    }

    /// For how long it has failed as a whole.
    pub(super) fn failing_for(&self, now: Duration) -> Duration {
        let down = self.outage.as_ref();
        down.map_or(Duration::ZERO, |down| down.failed_before + now.saturating_sub(down.since))
    }

    /// What the store keeps of it.
    pub(super) fn outage(&self, now: Duration) -> Outage {
        self.outage.as_ref().map_or_else(Outage::default, |down| Outage {
            failures: down.failures,
            next_try_in: down.probe_at.saturating_sub(now),
        })
    }
}
