//! What to do next for one endpoint, decided without I/O: [`Delivery::jobs`] says what to start now, [`Delivery::done`] hears how
//! it ended.
//!
//! An endpoint that **fails as a whole** is probed with single events, ever more seldom, and its events stay in the log. Where
//! only single events fail, each is set aside for a retry, with those behind it of the same key of order, and the rest goes on.
//!
//! - [`job`]: what it asks for. [`health`]: whether the endpoint works. [`unsaved`]: what is not stored yet.

mod health;
mod job;
mod tests;
mod unsaved;

use std::collections::VecDeque;
use std::time::Duration;

use health::{Health, Probe};
use unsaved::Unsaved;

use super::held::Held;
use super::policy::{Verdict, retry_delay, verdict};
use super::window::{Queued, Window};
use crate::application::ports::{
    DeliveryMetrics, DeliveryOutcome, EndpointAnswer, Event, EventBatch, EventKind, Failure,
    Leased, MAX_HELD, NoAnswer, Replay, Retried, SetAside, Waiting,
};

pub(crate) use job::{Done, Job, Source};

/// Events in a window, beyond which it is not filled.
const WINDOW_EVENTS: usize = 1_024;
/// Batches in a window, beyond which it is not filled: batches without a wanted event count too.
const WINDOW_BATCHES: usize = 4096;
/// How often due retries are looked for.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after the store or the log has failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// A delivery that stops waits this long for answers that are still missing.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// The bounds of a delivery.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryLimits {
    /// Requests at the same time.
    pub concurrency: usize,
    /// Tries of one event.
    pub max_attempts: u32,
    /// An endpoint that fails as a whole for this long is disabled.
    pub disable_after: Duration,
}

/// The delivery to one endpoint.
pub(crate) struct Delivery {
    endpoint: Leased,
    limits: DeliveryLimits,
    log: Window,
    replay: Option<(Replay, Window)>,
    /// The newest replay that is finished.
    last_replay: i64,
    held: Held,
    /// Loaded, and to be tried.
    retries: VecDeque<Waiting>,
    on_their_way: usize,
    retries_on_their_way: usize,
    health: Health,
    unsaved: Unsaved,
    log_end: i64,
    busy: Busy,
    /// Nothing is stored, read or loaded before this time.
    store_after: Duration,
    load_after: Duration,
    /// Why the endpoint is to be disabled.
    ending: Option<String>,
    stopping_since: Option<Duration>,
    is_over: bool,
}

/// Calls of ports that are under way.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each call is under way or not, whatever the others are"
)]
struct Busy {
    reading: bool,
    reading_again: bool,
    loading: bool,
    saving: bool,
    disabling: bool,
}

impl Delivery {
    /// Goes on where the last delivery stopped. `held` are the keys of order that wait, with their events.
    pub(crate) fn resume(
        endpoint: Leased,
        limits: DeliveryLimits,
        waiting: &[(String, String)],
        now: Duration,
    ) -> Self {
        let mut held = Held::default();
        for (key, event) in waiting {
            held.hold(key, event);
        }
        Self {
            log: Window::after(endpoint.position),
            replay: None,
            last_replay: 0,
            held,
            retries: VecDeque::new(),
            on_their_way: 0,
            retries_on_their_way: 0,
            health: Health::stored(&endpoint, now),
            unsaved: Unsaved::nothing(&endpoint, now),
            log_end: endpoint.position,
            busy: Busy::default(),
            store_after: now,
            load_after: now,
            ending: None,
            stopping_since: None,
            is_over: false,
            endpoint,
            limits,
        }
    }

    /// The log has grown to `log_end`, and this is the endpoint's oldest replay.
    pub(crate) fn instruct(&mut self, log_end: i64, replay: Option<Replay>) {
        self.log_end = self.log_end.max(log_end);
        // The end of the last one is to be stored first.
        if self.replay.is_none() && self.unsaved.progress.replay.is_none() {
            let new = replay.filter(|replay| replay.id > self.last_replay);
            self.replay = new.map(|replay| (replay, Window::after(replay.position)));
        }
    }

    /// Sends nothing more.
    pub(crate) fn stop(&mut self, now: Duration) {
        self.stopping_since.get_or_insert(now);
    }

    /// Whether this delivery has ended.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        let Some(since) = self.stopping_since else { return self.is_over };
        let is_patient = now.saturating_sub(since) < STOP_PATIENCE;
        let waits = self.on_their_way > 0 || self.busy.saving || self.has_unsaved(now);
        self.is_over || !waits || !is_patient
    }

    /// What is to be done now. Each job is followed by one call of [`Self::done`].
    pub(crate) fn jobs(&mut self, now: Duration) -> Vec<Job> {
        if self.is_over {
            return Vec::new();
        }
        let may_store = now >= self.store_after;
        let mut jobs = Vec::from_iter(may_store.then(|| self.save(now)).flatten());
        if self.stopping_since.is_some() {
            return jobs;
        }
        if may_store {
            jobs.extend(self.disable(now));
            jobs.extend(self.read());
            jobs.extend(self.read_again());
            jobs.extend(self.load(now));
        }
        if self.ending.is_some() {
            return jobs;
        }
        if self.health.is_up() {
            jobs.extend(std::iter::from_fn(|| self.next()).map(Job::Send));
        } else {
            jobs.extend(self.probe(now));
        }
        jobs
    }

    /// A job has ended.
    pub(crate) fn done(&mut self, done: Done, now: Duration, metrics: &dyn DeliveryMetrics) {
        if done.error().is_some() {
            self.store_after = now + STORE_PAUSE;
        }
        match done {
            Done::Sent(source, answer) => self.sent(source, &answer, now, metrics),
            Done::Read(read) => {
                self.busy.reading = false;
                if let Ok(batches) = read {
                    self.take(batches);
                }
            }
            Done::ReadAgain(read) => {
                self.busy.reading_again = false;
                if let Ok(batches) = read {
                    self.take_again(batches);
                }
            }
            Done::Loaded(loaded) => {
                self.busy.loading = false;
                self.load_after = now + LOAD_INTERVAL;
                self.retries.extend(loaded.into_iter().flatten());
            }
            Done::Saved(progress, saved) => {
                self.busy.saving = false;
                match saved {
                    Ok(is_owner) => self.is_over |= !is_owner,
                    Err(_) => self.unsaved.take_back(progress),
                }
            }
            Done::Disabled(disabled) => {
                self.busy.disabling = false;
                self.is_over |= disabled.is_ok();
                if disabled.is_ok_and(|is_owner| is_owner) {
                    metrics.counted(DeliveryOutcome::Disabled);
                }
            }
        }
    }

    fn take(&mut self, batches: Vec<EventBatch>) {
        if batches.is_empty() {
            // The log's end is not where it was said to be; the next instruction names it again.
            self.log_end = self.log.read();
        }
        for batch in batches {
            self.log.push(batch, |event| is_wanted(&self.endpoint.events, event));
        }
        self.set_held_aside();
    }

    fn take_again(&mut self, batches: Vec<EventBatch>) {
        let Some((replay, window)) = &mut self.replay else { return };
        let is_end = batches.is_empty();
        for batch in batches {
            if batch.position > replay.last {
                break;
            }
            window.push(batch, |event| is_wanted(&self.endpoint.events, event));
        }
        if is_end {
            replay.last = window.read();
        }
        self.set_held_aside();
    }

    fn read(&mut self) -> Option<Job> {
        let wants = self.log.read() < self.log_end && has_room(&self.log);
        if self.busy.reading || !wants || self.held.len() >= MAX_HELD {
            return None;
        }
        self.busy.reading = true;
        Some(Job::Read(self.log.read()))
    }

    fn read_again(&mut self) -> Option<Job> {
        let (replay, window) = self.replay.as_ref()?;
        let wants = window.read() < replay.last && has_room(window);
        if self.busy.reading_again || !wants || self.held.len() >= MAX_HELD {
            return None;
        }
        self.busy.reading_again = true;
        Some(Job::ReadAgain(window.read()))
    }

    /// Looks for what waits for a retry, once the ends of all retries of the last look are stored.
    fn load(&mut self, now: Duration) -> Option<Job> {
        let is_settled = self.retries.is_empty() && self.retries_on_their_way == 0;
        let is_stored = !self.busy.saving && self.unsaved.is_stored();
        if self.busy.loading || self.held.len() == 0 || !is_settled || !is_stored {
            return None;
        }
        if self.health.is_up() {
            self.busy.loading = now >= self.load_after;
            return self.busy.loading.then_some(Job::Load(false));
        }
        if self.health.probe(now) != Some(Probe::Waiting) {
            return None;
        }
        self.health.set_probe(Probe::Loaded);
        self.busy.loading = true;
        Some(Job::Load(true))
    }

    /// The next event to send, while the endpoint works.
    fn next(&mut self) -> Option<Source> {
        if self.on_their_way >= self.limits.concurrency {
            return None;
        }
        let source = self.next_retry().or_else(|| self.next_of_log())?;
        self.on_their_way += 1;
        Some(source)
    }

    fn next_retry(&mut self) -> Option<Source> {
        let waiting = self.retries.pop_front()?;
        self.retries_on_their_way += 1;
        Some(Source::Retry(waiting))
    }

    fn next_of_log(&mut self) -> Option<Source> {
        if let Some(queued) = self.log.next() {
            return Some(Source::Log(queued));
        }
        self.replay.as_mut()?.1.next().map(Source::Replay)
    }

    /// Sends one event that waits and one that does not: an endpoint that only refuses the one works.
    fn probe(&mut self, now: Duration) -> Vec<Job> {
        let is_ready = match self.health.probe(now) {
            None | Some(Probe::Sent(_)) => false,
            Some(Probe::Waiting) => self.held.len() == 0 || !self.retries.is_empty(),
            Some(Probe::Loaded) => true,
        };
        if !is_ready || self.on_their_way > 0 || self.busy.loading || self.busy.reading {
            return Vec::new();
        }
        let sources = [self.next_retry(), self.next_of_log()];
        let jobs: Vec<_> = sources.into_iter().flatten().map(Job::Send).collect();
        self.on_their_way += jobs.len();
        if jobs.is_empty() {
            // Nothing is left to probe with: the next event shows whether it works.
            self.health.succeeded();
        } else {
            self.health.set_probe(Probe::Sent(jobs.len()));
        }
        jobs
    }

    fn sent(
        &mut self,
        source: Source,
        answer: &Result<EndpointAnswer, NoAnswer>,
        now: Duration,
        metrics: &dyn DeliveryMetrics,
    ) {
        self.on_their_way -= 1;
        self.retries_on_their_way -= usize::from(matches!(source, Source::Retry(_)));
        match verdict(answer) {
            Verdict::Delivered => {
                metrics.counted(DeliveryOutcome::Delivered);
                if self.health.succeeded() {
                    tracing::info!(webhook = %self.endpoint.id, "an endpoint of webhooks works again");
                }
                self.settle(source);
            }
            Verdict::Failed(failure) => {
                metrics.counted(DeliveryOutcome::Failed);
                self.failed(source, failure, (now, None), metrics);
            }
            Verdict::SlowDown(pause, failure) => {
                metrics.counted(DeliveryOutcome::SlowedDown);
                self.failed(source, failure, (now, Some(pause)), metrics);
            }
            Verdict::Gone => {
                metrics.counted(DeliveryOutcome::Failed);
                self.return_unsent(source);
                self.ending = Some("the endpoint answered 410 Gone".to_owned());
            }
        }
    }

    /// A delivered event is settled.
    fn settle(&mut self, source: Source) {
        match source {
            Source::Log(queued) => self.log.delivered(&queued),
            Source::Replay(queued) => {
                if let Some((_, window)) = &mut self.replay {
                    window.delivered(&queued);
                }
            }
            Source::Retry(Waiting { event, .. }) => {
                self.held.release(&event.order_key, &event.id);
                self.unsaved.progress.delivered.push(event.id);
                // The next of its key of order may be due.
                self.load_after = Duration::ZERO;
            }
        }
    }

    fn failed(
        &mut self,
        source: Source,
        failure: Failure,
        (now, pause): (Duration, Option<Duration>),
        metrics: &dyn DeliveryMetrics,
    ) {
        if !self.health.is_up() {
            // The endpoint is at fault, not the event: it loses no try.
            self.return_unsent(source);
            self.health.probe_failed(now, pause);
            return;
        }
        let is_silence = failure.status.is_none();
        let is_down = self.health.failed(&source.event().id, is_silence, now);
        if is_down {
            tracing::warn!(
                webhook = %self.endpoint.id,
                error = %failure.error,
                "an endpoint of webhooks fails: it is only probed until it works again"
            );
        }
        if let Some(pause) = pause {
            self.health.rest(now, pause);
        }
        self.count_try(source, failure, pause, metrics);
    }

    /// An event loses one of its tries.
    fn count_try(
        &mut self,
        source: Source,
        failure: Failure,
        pause: Option<Duration>,
        metrics: &dyn DeliveryMetrics,
    ) {
        let Waiting { event, attempts, .. } = match source {
            Source::Retry(waiting) => waiting,
            Source::Log(queued) => {
                self.log.settle(queued.position);
                return self.first_failure(queued, failure, pause);
            }
            Source::Replay(queued) => {
                if let Some((_, window)) = &mut self.replay {
                    window.settle(queued.position);
                }
                return self.first_failure(queued, failure, pause);
            }
        };
        let attempts = attempts + 1;
        let is_last = attempts >= self.limits.max_attempts;
        if is_last {
            metrics.counted(DeliveryOutcome::Dead);
            self.held.release(&event.order_key, &event.id);
            self.load_after = Duration::ZERO;
        }
        let pause = pause.unwrap_or_else(|| retry_delay(&event.id, attempts));
        let next_try_in = (!is_last).then_some(pause);
        let retried = Retried { event_id: event.id, attempts, next_try_in, failure };
        self.unsaved.progress.retried.push(retried);
    }

    fn first_failure(&mut self, queued: Queued, failure: Failure, pause: Option<Duration>) {
        let key = queued.event.order_key.clone();
        let pause = pause.unwrap_or_else(|| retry_delay(&queued.event.id, 1));
        self.set_aside(queued, 1, pause, failure);
        self.set_lane_aside(&key);
    }

    /// An event goes back to where it came from.
    fn return_unsent(&mut self, source: Source) {
        match source {
            Source::Log(queued) => self.log.put_back(queued),
            Source::Replay(queued) => {
                if let Some((_, window)) = &mut self.replay {
                    window.put_back(queued);
                }
            }
            Source::Retry(waiting) => self.retries.push_back(waiting),
        }
        // Another event of its key may have been set aside while it was on its way.
        self.set_held_aside();
    }

    /// Events behind one that waits wait too.
    fn set_held_aside(&mut self) {
        let windows = [Some(&self.log), self.replay.as_ref().map(|(_, window)| window)];
        let keys = windows.into_iter().flatten().flat_map(Window::keys);
        let held: Vec<_> = keys.filter(|key| self.held.holds(key)).cloned().collect();
        for key in held {
            self.set_lane_aside(&key);
        }
    }

    fn set_lane_aside(&mut self, key: &str) {
        let mut behind = self.log.drained(key);
        if let Some((_, window)) = &mut self.replay {
            behind.extend(window.drained(key));
        }
        for queued in behind {
            self.set_aside(queued, 0, Duration::ZERO, Failure::default());
        }
    }

    fn set_aside(&mut self, queued: Queued, attempts: u32, pause: Duration, failure: Failure) {
        let Queued { event, written_at, .. } = queued;
        if self.unsaved.progress.delivered.contains(&event.id) {
            // A replay repeated what a retry has delivered a moment ago.
            return;
        }
        if self.held.hold(&event.order_key, &event.id) {
            let waiting = Waiting { event, written_at, attempts };
            let set_aside = SetAside { waiting, next_try_in: pause, failure };
            self.unsaved.progress.set_aside.push(set_aside);
        }
    }

    /// Disables an endpoint that has failed for too long or is gone, when everything else is stored.
    fn disable(&mut self, now: Duration) -> Option<Job> {
        let failing_for = self.health.failing_for(now);
        if failing_for >= self.limits.disable_after {
            let hours = failing_for.as_secs() / 3600;
            let reason = format!("it did not accept any event for {hours} hours");
            self.ending.get_or_insert(reason);
        }
        let waits = self.on_their_way > 0 || self.busy.saving || self.has_unsaved(now);
        if self.busy.disabling || waits {
            return None;
        }
        let reason = self.ending.clone()?;
        self.busy.disabling = true;
        Some(Job::Disable(reason))
    }

    /// The position, the position in the replay, and the failures: what is stored if it has changed.
    fn state(&self, now: Duration) -> (i64, Option<i64>, u32) {
        let replayed = self.replay.as_ref().map(|(_, window)| window.settled());
        (self.log.settled(), replayed, self.health.outage(now).failures)
    }

    fn has_unsaved(&self, now: Duration) -> bool {
        let (position, replayed, failures) = self.state(now);
        self.unsaved.is_any(position, replayed, failures)
    }

    fn save(&mut self, now: Duration) -> Option<Job> {
        let is_due = self.unsaved.is_due(now) || self.stopping_since.is_some();
        if self.busy.saving || !is_due || !self.has_unsaved(now) {
            return None;
        }
        self.busy.saving = true;
        let mut progress = self.unsaved.take(now, self.state(now));
        progress.position = self.log.settled();
        progress.outage = self.health.outage(now);
        if let Some((replay, window)) = &self.replay {
            progress.replay = Some(Replay { position: window.settled(), ..*replay });
        }
        if let Some((replay, _)) =
            self.replay.take_if(|(replay, window)| window.settled() >= replay.last)
        {
            self.last_replay = replay.id;
            tracing::info!(webhook = %self.endpoint.id, "the replay to an endpoint of webhooks is finished");
        }
        Some(Job::Save(progress))
    }
}

fn is_wanted(wanted: &[EventKind], event: &Event) -> bool {
    wanted.is_empty() || wanted.contains(&event.kind)
}

fn has_room(window: &Window) -> bool {
    window.len() < WINDOW_EVENTS && window.batches() < WINDOW_BATCHES
}
