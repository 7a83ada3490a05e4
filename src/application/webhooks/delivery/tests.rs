//! What a delivery asks for after each answer, without any I/O.

#![cfg(test)]

use std::sync::Arc;

use super::*;
use crate::application::ports::{Outage, PortError, Progress, Target, WebhookId};
use crate::testing::builders::{at, batch_of, unavailable};
use crate::testing::fakes::{FakeDeliveryMetrics, answer};

const LIMITS: DeliveryLimits =
    DeliveryLimits { concurrency: 4, max_attempts: 3, disable_after: Duration::from_hours(24) };
/// Longer than the interval at which progress is stored.
const SOON: Duration = Duration::from_millis(200);

fn leased() -> Leased {
    Leased {
        id: WebhookId::new("wh_1"),
        target: Target { url: "https://1.example/".into(), secrets: Vec::new(), read_at: at(0) },
        events: Vec::new(),
        position: 0,
        failures: 0,
        failing_for: Duration::ZERO,
        next_try_in: Duration::ZERO,
        replay: None,
        revision: 0,
    }
}

/// A delivery with a clock, and with what it has asked for.
struct Scene {
    delivery: Delivery,
    now: Duration,
    metrics: Arc<FakeDeliveryMetrics>,
    jobs: Vec<Job>,
}

impl Scene {
    fn of(endpoint: Leased, held: &[(&str, &str)]) -> Self {
        let now = Duration::from_mins(1);
        let held: Vec<_> =
            held.iter().map(|(key, event)| ((*key).to_owned(), (*event).to_owned())).collect();
        let delivery = Delivery::resume(endpoint, LIMITS, &held, now);
        Self { delivery, now, metrics: FakeDeliveryMetrics::new(), jobs: Vec::new() }
    }

    /// One that has read these batches.
    fn with(batches: &[(i64, &[&str])]) -> Self {
        let mut scene = Self::of(leased(), &[]);
        scene.read(batches);
        scene
    }

    fn read(&mut self, batches: &[(i64, &[&str])]) {
        self.delivery.instruct(batches.last().unwrap().0, None);
        self.look();
        assert!(self.take(|job| matches!(job, Job::Read(_))).is_some(), "{:?}", self.jobs);
        let batches = batches.iter().map(|(position, keys)| batch_of(*position, keys)).collect();
        self.done(Done::Read(Ok(batches)));
    }

    fn look(&mut self) {
        self.jobs.extend(self.delivery.jobs(self.now));
    }

    fn after(&mut self, time: Duration) {
        self.now += time;
        self.look();
    }

    fn done(&mut self, done: Done) {
        self.delivery.done(done, self.now, &*self.metrics);
        self.look();
    }

    fn take(&mut self, is_wanted: impl Fn(&Job) -> bool) -> Option<Job> {
        let place = self.jobs.iter().position(is_wanted)?;
        Some(self.jobs.remove(place))
    }

    /// The ids of events that are on their way.
    fn sending(&self) -> Vec<&str> {
        let ids = self.jobs.iter().filter_map(|job| match job {
            Job::Send(source) => Some(source.event().id.as_str()),
            _ => None,
        });
        ids.collect()
    }

    fn answered_with(&mut self, event: &str, answer: Result<EndpointAnswer, NoAnswer>) {
        let sent = self.take(|job| matches!(job, Job::Send(source) if source.event().id == event));
        let Some(Job::Send(source)) = sent else { panic!("{event} is not on its way") };
        self.done(Done::Sent(source, answer));
    }

    fn answered(&mut self, event: &str, status: u16) {
        self.answered_with(event, Ok(answer(status)));
    }

    fn silent(&mut self, event: &str) {
        self.answered_with(event, Err(NoAnswer("connection refused".to_owned())));
    }

    /// The progress that is being stored.
    fn saving(&mut self) -> Progress {
        let save = self.take(|job| matches!(job, Job::Save(_)));
        let Some(Job::Save(progress)) = save else { panic!("nothing is stored: {:?}", self.jobs) };
        progress
    }

    fn saved(&mut self) -> Progress {
        self.after(SOON);
        let progress = self.saving();
        self.done(Done::Saved(progress.clone(), Ok(true)));
        progress
    }

    /// Brings what waits, when it is asked for.
    fn loaded(&mut self, events: &[(&str, &str, u32)]) {
        assert!(self.take(|job| matches!(job, Job::Load(_))).is_some(), "{:?}", self.jobs);
        let waiting = events.iter().map(|(key, id, attempts)| {
            let mut batch = batch_of(1, &[key]);
            let event = Event { id: (*id).to_owned(), ..batch.events.remove(0) };
            Waiting { event, written_at: batch.written_at, attempts: *attempts }
        });
        self.done(Done::Loaded(Ok(waiting.collect())));
    }
}

fn ids(set_aside: &[SetAside]) -> Vec<&str> {
    set_aside.iter().map(|one| one.waiting.event.id.as_str()).collect()
}

#[test]
fn no_more_events_are_on_their_way_than_the_limit_and_one_of_a_key() {
    let mut scene = Scene::with(&[(1, &["a", "a", "b", "c", "d", "e"])]);
    assert_eq!(scene.sending(), ["evt_1_0", "evt_1_2", "evt_1_3", "evt_1_4"]);

    scene.answered("evt_1_0", 200);

    assert_eq!(scene.sending(), ["evt_1_2", "evt_1_3", "evt_1_4", "evt_1_5"]);
    scene.answered("evt_1_2", 204);
    assert!(scene.sending().contains(&"evt_1_1"));
}

#[test]
fn what_is_delivered_is_stored_as_a_position_alone() {
    let mut scene = Scene::with(&[(1, &["a", "b"]), (2, &["c"])]);
    for event in ["evt_2_0", "evt_1_0", "evt_1_1"] {
        scene.answered(event, 200);
    }

    let progress = scene.saved();

    assert_eq!(progress, Progress { position: 2, ..Progress::default() });
    scene.after(SOON);
    assert_eq!(scene.jobs, [], "nothing has changed since");
}

#[test]
fn a_single_failure_is_set_aside_with_those_behind_it_and_the_rest_goes_on() {
    let mut scene = Scene::with(&[(1, &["a", "a", "b"]), (2, &["a", "b"])]);

    scene.answered("evt_1_0", 500);
    for event in ["evt_1_2", "evt_2_1"] {
        scene.answered(event, 200);
    }

    let progress = scene.saved();
    assert_eq!(progress.position, 2);
    assert_eq!(ids(&progress.set_aside), ["evt_1_0", "evt_1_1", "evt_2_0"]);
    let attempts: Vec<_> = progress.set_aside.iter().map(|one| one.waiting.attempts).collect();
    assert_eq!(attempts, [1, 0, 0]);
    assert_eq!(progress.set_aside[0].failure.status, Some(500));
    assert!(progress.set_aside[0].next_try_in > Duration::from_secs(3));
    assert_eq!(progress.outage, Outage::default());
}

#[test]
fn a_later_event_of_a_key_that_waits_is_not_sent_before_it() {
    let mut scene = Scene::of(leased(), &[("a", "evt_0_0")]);
    scene.read(&[(1, &["a", "b"])]);

    assert_eq!(scene.sending(), ["evt_1_1"]);
    scene.answered("evt_1_1", 200);
    assert_eq!(ids(&scene.saved().set_aside), ["evt_1_0"]);
}

#[test]
fn retries_are_looked_for_and_their_ends_stored() {
    let mut scene = Scene::of(leased(), &[("a", "one"), ("b", "two"), ("c", "three")]);
    scene.look();
    scene.loaded(&[("a", "one", 1), ("b", "two", 1), ("c", "three", 2)]);

    scene.answered("one", 200);
    scene.answered("two", 500);
    scene.answered("three", 500);
    let progress = scene.saved();

    assert_eq!(progress.delivered, ["one"]);
    let [two, three] = &progress.retried[..] else { panic!("{progress:?}") };
    assert_eq!((two.event_id.as_str(), two.attempts), ("two", 2));
    assert!(two.next_try_in.is_some());
    assert_eq!((three.event_id.as_str(), three.attempts, three.next_try_in), ("three", 3, None));
    assert_eq!(scene.metrics.count(DeliveryOutcome::Dead), 1);
    // The keys of what is delivered or given up are free again; that of the other is not.
    scene.read(&[(1, &["a", "b", "c"])]);
    assert_eq!(scene.sending(), ["evt_1_0", "evt_1_2"]);
}

#[test]
fn retries_are_not_loaded_again_before_their_ends_are_stored() {
    let mut scene = Scene::of(leased(), &[("a", "one"), ("a", "two")]);
    scene.look();
    scene.loaded(&[("a", "one", 1)]);
    scene.answered("one", 200);

    assert_eq!(scene.jobs, []);
    scene.saved();

    scene.loaded(&[("a", "two", 0)]);
    assert_eq!(scene.sending(), ["two"]);
}

#[test]
fn an_endpoint_that_does_not_answer_is_only_probed_and_its_events_lose_no_try() {
    let mut scene = Scene::with(&[(1, &["a", "b", "c", "d", "e", "f"])]);
    for event in ["evt_1_0", "evt_1_1", "evt_1_2"] {
        scene.silent(event);
    }
    scene.silent("evt_1_3");
    scene.jobs.retain(|job| matches!(job, Job::Send(_)));
    assert_eq!(scene.sending(), ["evt_1_4", "evt_1_5"], "they were on their way already");
    scene.silent("evt_1_4");
    scene.silent("evt_1_5");

    let progress = scene.saved();
    assert_eq!(ids(&progress.set_aside), ["evt_1_0", "evt_1_1", "evt_1_2"]);
    assert_eq!((progress.position, progress.outage.failures), (0, 1));
    assert_eq!(scene.jobs, []);

    for failures in 2..12 {
        scene.after(Duration::from_hours(1));
        scene.loaded(&[("a", "evt_1_0", 1)]);
        let sending: Vec<_> = scene.sending().iter().map(|&id| id.to_owned()).collect();
        assert_eq!(sending.len(), 2, "one that waits and one that does not: {sending:?}");
        for event in &sending {
            scene.silent(event);
        }
        let progress = scene.saved();
        assert_eq!(progress.outage.failures, failures);
        assert_eq!((progress.set_aside.len(), progress.retried.len()), (0, 0));
        scene.delivery.retries.clear();
    }
}

#[test]
fn the_first_success_of_a_probe_ends_the_outage() {
    let mut scene = Scene::with(&[(1, &["a", "b", "c", "d"])]);
    for event in ["evt_1_0", "evt_1_1", "evt_1_2"] {
        scene.silent(event);
    }
    scene.answered("evt_1_3", 500);
    scene.saved();
    scene.after(Duration::from_secs(10));
    scene.loaded(&[("a", "evt_1_0", 1)]);
    assert_eq!(scene.sending(), ["evt_1_0", "evt_1_3"]);

    scene.answered("evt_1_3", 200);
    assert_eq!(scene.saved().outage, Outage::default());
    scene.answered("evt_1_0", 500);

    let progress = scene.saved();
    assert_eq!(progress.outage, Outage::default());
    assert_eq!(progress.retried.len(), 1, "the endpoint works, so the event is at fault");
}

#[test]
fn failures_of_one_event_are_not_failures_of_the_endpoint() {
    let mut scene = Scene::of(leased(), &[("a", "one")]);
    for attempts in 0..2 {
        scene.after(Duration::from_hours(1));
        scene.loaded(&[("a", "one", attempts)]);
        scene.answered("one", 400);
        assert_eq!(scene.saved().outage, Outage::default());
    }
    let mut scene = Scene::with(&[(1, &["a", "b", "c", "d", "e"])]);

    for event in 0..5 {
        scene.answered(&format!("evt_1_{event}"), 400);
    }

    assert_eq!(scene.saved().outage.failures, 1);
}

#[test]
fn an_endpoint_that_refuses_the_events_of_few_buyers_fails_as_a_whole_too() {
    let mut scene = Scene::of(leased(), &[("a", "one"), ("b", "two")]);
    for round in 0..5 {
        scene.after(Duration::from_hours(1));
        scene.loaded(&[("a", "one", 0), ("b", "two", 0)]);
        scene.answered("one", 400);
        scene.answered("two", 400);
        scene.jobs.clear();
        assert_eq!(scene.delivery.health.is_up(), round < 4, "{round}");
        scene.delivery.busy.saving = false;
        scene.delivery.unsaved = Unsaved::nothing(&leased(), scene.now);
    }
}

#[test]
fn an_endpoint_that_asks_for_a_pause_gets_it() {
    let mut scene = Scene::with(&[(1, &["a", "b"])]);
    let slow = EndpointAnswer { retry_after: Some(Duration::from_secs(90)), ..answer(429) };

    scene.answered_with("evt_1_0", Ok(slow));
    scene.answered("evt_1_1", 500);

    assert_eq!(scene.saved().outage.failures, 1);
    scene.after(Duration::from_secs(89));
    assert_eq!(scene.jobs, []);
    scene.after(Duration::from_secs(1));
    scene.loaded(&[("a", "evt_1_0", 1)]);
    assert_eq!(scene.sending(), ["evt_1_0", "evt_1_1"]);
}

#[test]
fn an_endpoint_that_fails_for_too_long_or_is_gone_is_disabled_when_all_is_stored() {
    let mut gone = Scene::with(&[(1, &["a", "b"])]);

    let next_try_in = Duration::from_hours(5);
    let failing_for = Duration::from_hours(23);
    let mut scene = Scene::of(Leased { failing_for, failures: 9, next_try_in, ..leased() }, &[]);
    scene.after(Duration::from_mins(59));
    assert_eq!(scene.jobs, []);
    scene.after(Duration::from_mins(1));
    let disable = |job: &Job| matches!(job, Job::Disable(_));
    assert!(scene.take(disable).is_some());
    gone.answered("evt_1_0", 410);
    assert!(gone.take(disable).is_none(), "an answer is missing");
    gone.answered("evt_1_1", 200);
    gone.after(SOON);
    if let Some(Job::Save(progress)) = gone.take(|job| matches!(job, Job::Save(_))) {
        gone.done(Done::Saved(progress, Ok(true)));
    }
    let Some(Job::Disable(reason)) = gone.take(disable) else { panic!("{:?}", gone.jobs) };
    assert!(reason.contains("410"), "{reason}");
    gone.done(Done::Disabled(Ok(true)));

    assert_eq!(gone.metrics.count(DeliveryOutcome::Disabled), 1);
    assert!(gone.delivery.is_over(gone.now));
    assert_eq!(gone.jobs, []);
}

#[test]
fn progress_that_could_not_be_stored_is_stored_later() {
    let mut scene = Scene::with(&[(1, &["a", "b"])]);
    scene.answered("evt_1_0", 500);
    scene.answered("evt_1_1", 200);
    scene.after(SOON);
    let progress = scene.saving();

    scene.done(Done::Saved(progress.clone(), Err(unavailable())));
    assert_eq!(scene.jobs, []);
    scene.after(Duration::from_secs(1));

    assert_eq!(scene.saving(), progress);
}

#[test]
fn a_delivery_whose_lease_is_lost_is_over() {
    let mut scene = Scene::with(&[(1, &["a", "b"])]);
    scene.answered("evt_1_0", 200);
    scene.answered("evt_1_1", 200);
    scene.after(SOON);
    let progress = scene.saving();

    scene.done(Done::Saved(progress, Ok(false)));

    assert!(scene.delivery.is_over(scene.now));
}

#[test]
fn a_delivery_that_stops_waits_for_answers_and_stores_them() {
    let mut scene = Scene::with(&[(1, &["a", "a"])]);

    scene.delivery.stop(scene.now);
    assert!(!scene.delivery.is_over(scene.now));
    scene.answered("evt_1_0", 200);
    assert_eq!(scene.sending(), Vec::<&str>::new());
    assert!(scene.delivery.is_over(scene.now), "batch 1 is not settled, so nothing is to store");

    let mut scene = Scene::with(&[(1, &["a"])]);
    scene.delivery.stop(scene.now);
    scene.answered("evt_1_0", 200);
    assert!(!scene.delivery.is_over(scene.now));
    let progress = scene.saving();
    assert_eq!(progress.position, 1);
    scene.done(Done::Saved(progress, Ok(true)));
    assert!(scene.delivery.is_over(scene.now));

    let mut scene = Scene::with(&[(1, &["a"])]);
    scene.delivery.stop(scene.now);
    assert!(scene.delivery.is_over(scene.now + STOP_PATIENCE), "an endpoint that never answers");
}

#[test]
fn a_replay_sends_its_batches_beside_new_ones_and_ends() {
    let mut scene = Scene::of(Leased { position: 5, ..leased() }, &[]);
    let replay = Replay { id: 7, position: 1, last: 3 };
    scene.delivery.instruct(5, Some(replay));
    scene.look();
    assert!(scene.take(|job| *job == Job::ReadAgain(1)).is_some());
    let batches = [(2, ["a"]), (3, ["b"]), (4, ["c"])];
    let batches = batches.iter().map(|(position, keys)| batch_of(*position, keys)).collect();
    scene.done(Done::ReadAgain(Ok(batches)));
    assert_eq!(scene.sending(), ["evt_2_0", "evt_3_0"]);

    scene.answered("evt_2_0", 200);
    scene.answered("evt_3_0", 200);

    let progress = scene.saved();
    assert_eq!(progress.replay, Some(Replay { position: 3, ..replay }));
    assert_eq!(progress.position, 5);
    scene.delivery.instruct(5, Some(replay));
    scene.after(SOON);
    assert_eq!(scene.take(|job| matches!(job, Job::ReadAgain(_))), None, "it is finished");
}

#[test]
fn only_wanted_kinds_are_sent_and_the_position_passes_the_others() {
    let wanted = Leased { events: vec![EventKind::SaleEnded], ..leased() };
    let mut scene = Scene::of(wanted, &[]);

    scene.read(&[(1, &["a"]), (2, &["b"])]);

    assert_eq!(scene.sending(), Vec::<&str>::new());
    assert_eq!(scene.saved().position, 2);
}

#[test]
fn a_window_that_is_full_is_not_filled_further() {
    let many: Vec<String> = (0..WINDOW_EVENTS).map(|buyer| format!("buyer {buyer}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut scene = Scene::with(&[(1, &many)]);

    scene.delivery.instruct(99, None);
    scene.after(SOON);
    assert_eq!(scene.take(|job| matches!(job, Job::Read(_))), None);
    scene.answered("evt_1_0", 200);

    assert_eq!(scene.take(|job| matches!(job, Job::Read(_))), Some(Job::Read(1)));
}

#[test]
fn a_log_or_a_store_that_fails_is_asked_again_a_second_later() {
    let mut scene = Scene::of(leased(), &[]);
    scene.delivery.instruct(1, None);
    scene.look();
    assert!(scene.take(|job| matches!(job, Job::Read(_))).is_some());

    scene.done(Done::Read(Err::<Vec<EventBatch>, PortError>(unavailable())));
    scene.after(Duration::from_millis(999));
    assert_eq!(scene.jobs, []);
    scene.after(Duration::from_millis(1));

    assert_eq!(scene.jobs, [Job::Read(0)]);
}
