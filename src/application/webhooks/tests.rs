//! Deliveries as a whole: several processes, endpoints that fail and come back, in the runtime's paused time.

#![cfg(test)]
#![expect(
    clippy::clone_on_ref_ptr,
    reason = "an Arc of a fake becomes an Arc of its port, for which `Arc::clone` needs the fake's type"
)]

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use super::deliveries::Deliveries;
use super::delivery::DeliveryLimits;
use super::replay::ReplayWebhook;
use super::runner::DeliveryPorts;
use crate::application::ports::{
    DeliveryOutcome, NewWebhook, NoAnswer, Webhook, WebhookChange, WebhookState, WebhookStore,
};
use crate::testing::builders::{at, new_webhook};
use crate::testing::fakes::{
    FakeDeliveryMetrics, FakeEndpoints, FakeEventLog, FakeWebhooks, TokioClock, answer,
};

const LIMITS: DeliveryLimits =
    DeliveryLimits { concurrency: 8, max_attempts: 4, disable_after: Duration::from_hours(1) };
const DEADLINE: Duration = Duration::from_hours(3);
const AT_ONCE: Duration = Duration::ZERO;

/// A log, a store, and endpoints.
struct World {
    clock: Arc<TokioClock>,
    log: Arc<FakeEventLog>,
    store: Arc<FakeWebhooks>,
    endpoints: Arc<FakeEndpoints>,
    metrics: Arc<FakeDeliveryMetrics>,
}

/// A process that delivers.
struct Process {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
    deliveries: Arc<Mutex<Vec<AbortHandle>>>,
}

impl World {
    fn new() -> Self {
        let clock = TokioClock::new();
        Self {
            log: FakeEventLog::new(),
            store: FakeWebhooks::by(clock.clone()),
            endpoints: FakeEndpoints::new(),
            metrics: FakeDeliveryMetrics::new(),
            clock,
        }
    }

    /// Writes this many batches of four buyers each.
    fn fill(&self, batches: usize) {
        for _ in 0..batches {
            self.log.append(&["ann", "bob", "cid", "dora"]);
        }
    }

    async fn webhook(&self, number: i64) -> NewWebhook {
        let webhook = new_webhook(number);
        assert!(self.store.add(&webhook, "eve").await.unwrap());
        webhook
    }

    fn process(&self, owner: &str) -> Process {
        let ports = DeliveryPorts {
            store: self.store.clone(),
            sender: self.endpoints.clone(),
            log: self.log.clone(),
            clock: self.clock.clone(),
            pause: self.clock.clone(),
            metrics: self.metrics.clone(),
        };
        let (tasks, deliveries) = (Handle::current(), Arc::<Mutex<Vec<_>>>::default());
        let spawned = deliveries.clone();
        let spawn = Arc::new(move |task| {
            spawned.lock().unwrap().push(tasks.spawn(task).abort_handle());
        });
        let all = Deliveries::new(ports, LIMITS, owner, spawn);
        let (stop, stopped) = oneshot::channel();
        let ended = Handle::current().spawn(all.run(async {
            let _ = stopped.await;
        }));
        Process { stop, ended, deliveries }
    }

    async fn shown(&self, webhook: &NewWebhook) -> Webhook {
        let listed = self.store.list().await.unwrap();
        listed.into_iter().find(|one| one.id == webhook.id).unwrap()
    }

    fn received(&self, webhook: &NewWebhook) -> Vec<String> {
        self.endpoints.received(&webhook.url)
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok(), "never: {what}");
    }

    /// Waits until an endpoint has every event of the log.
    async fn delivered(&self, webhook: &NewWebhook) {
        let all: BTreeSet<_> = self.log.ids().into_iter().collect();
        self.until("every event is received", async || {
            self.received(webhook).into_iter().collect::<BTreeSet<_>>() == all
        })
        .await;
    }
}

impl Process {
    async fn stop(self) {
        let _ = self.stop.send(());
        self.ended.await.unwrap();
    }

    /// Its tasks end wherever they are.
    fn die(self) {
        self.deliveries.lock().unwrap().iter().for_each(AbortHandle::abort);
        self.ended.abort();
    }
}

/// Asserts that events of each buyer were received in the order of the log.
fn assert_in_order(received: &[String], batches: usize) {
    let (mut seen, mut orders) = (BTreeSet::new(), HashMap::<_, Vec<_>>::new());
    for id in received.iter().filter(|id| seen.insert((*id).clone())) {
        orders.entry(id.rsplit('_').next().unwrap()).or_default().push(id.clone());
    }
    assert_eq!(orders.len(), 4);
    for (buyer, ids) in orders {
        let expected: Vec<_> = (1..=batches).map(|batch| format!("evt_{batch}_{buyer}")).collect();
        assert_eq!(ids, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_gets_every_event_once_and_in_order_within_a_buyer() {
    let world = World::new();
    let (one, two) = (world.webhook(1).await, world.webhook(2).await);
    world.endpoints.answers(&two.url, Duration::from_millis(30), |_| 204);
    world.fill(100);
    let process = world.process("one");

    for webhook in [&one, &two] {
        world.delivered(webhook).await;
        let received = world.received(webhook);
        assert_eq!(received.len(), 400);
        assert_in_order(&received, 100);
    }
    process.stop().await;
    assert_eq!((world.shown(&one).await.position, world.shown(&two).await.position), (100, 100));
    assert_eq!(world.metrics.count(DeliveryOutcome::Delivered), 800);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_delays_no_other() {
    let world = World::new();
    let (stuck, fast) = (world.webhook(1).await, world.webhook(2).await);
    world.endpoints.answers(&stuck.url, DEADLINE * 2, |_| 200);
    let process = world.process("one");
    tokio::time::sleep(Duration::from_secs(5)).await;

    let begun = tokio::time::Instant::now();
    world.log.append(&["ann"]);
    world.delivered(&fast).await;

    assert!(begun.elapsed() <= Duration::from_millis(150), "{:?}", begun.elapsed());
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_comes_back_after_a_while_gets_everything_and_soon() {
    let world = World::new();
    let webhook = world.webhook(1).await;
    let (is_up, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (up, counted) = (is_up.clone(), tries.clone());
    world.endpoints.behaves(&webhook.url, AT_ONCE, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let refused = || NoAnswer("connection refused".to_owned());
        if up.load(Ordering::Relaxed) { Ok(answer(200)) } else { Err(refused()) }
    });
    world.fill(50);
    let process = world.process("one");
    tokio::time::sleep(Duration::from_mins(40)).await;
    let shown = world.shown(&webhook).await;
    assert_eq!((shown.state, shown.dead, shown.position), (WebhookState::Active, 0, 0));
    assert!(shown.failures > 7 && shown.failing_since.is_some(), "{shown:?}");
    assert!(tries.load(Ordering::Relaxed) < 40, "{tries:?}");

    is_up.store(true, Ordering::Relaxed);
    let back = tokio::time::Instant::now();
    world.delivered(&webhook).await;

    assert!(back.elapsed() < Duration::from_mins(45), "{:?}", back.elapsed());
    assert_in_order(&world.received(&webhook), 50);
    process.stop().await;
    let shown = world.shown(&webhook).await;
    assert_eq!((shown.failures, shown.failing_since, shown.retrying), (0, None, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_for_longer_is_disabled_and_goes_on_when_it_is_resumed() {
    let world = World::new();
    let webhook = world.webhook(1).await;
    world.endpoints.answers(&webhook.url, AT_ONCE, |_| 500);
    world.fill(10);
    let process = world.process("one");

    world
        .until("it is disabled", async || {
            world.shown(&webhook).await.state == WebhookState::Disabled
        })
        .await;
    assert!(world.clock.now() > at(0) + LIMITS.disable_after);
    assert_eq!(world.metrics.count(DeliveryOutcome::Disabled), 1);
    world.endpoints.answers(&webhook.url, AT_ONCE, |_| 200);
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert_eq!(world.received(&webhook), Vec::<String>::new());
    world.store.change(&webhook.id, WebhookChange::Resume, "eve").await.unwrap();

    world.delivered(&webhook).await;
    process.stop().await;
    let shown = world.shown(&webhook).await;
    assert_eq!((shown.state, shown.failures, shown.reason), (WebhookState::Active, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_given_up_after_its_tries_and_a_replay_sends_it() {
    let world = World::new();
    let webhook = world.webhook(1).await;
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    world.endpoints.answers(&webhook.url, AT_ONCE, move |event| {
        if event == "evt_2_1" && !mended.load(Ordering::Relaxed) { 422 } else { 200 }
    });
    world.fill(3);
    let process = world.process("one");
    world.until("it is given up", async || world.shown(&webhook).await.dead == 1).await;
    assert!(!world.received(&webhook).contains(&"evt_2_1".to_owned()));
    // What waited behind it was sent.
    world
        .until("the next of its buyer is sent", async || {
            world.received(&webhook).contains(&"evt_3_1".to_owned())
        })
        .await;
    let dead = world.store.dead(&webhook.id, 10).await.unwrap();
    assert_eq!((dead[0].event_id.as_str(), dead[0].last_status), ("evt_2_1", Some(422)));
    assert_eq!(dead[0].attempts, 4);
    assert_eq!(world.metrics.count(DeliveryOutcome::Dead), 1);

    is_mended.store(true, Ordering::Relaxed);
    let replay = ReplayWebhook::new(world.store.clone(), world.log.clone());
    let asked = replay.execute(&webhook.id, at(2), Some(at(3)), "eve").await.unwrap().unwrap();

    assert_eq!((asked.batches, asked.put_back), (1, 1));
    world.delivered(&webhook).await;
    world.until("the replay is finished", async || world.shown(&webhook).await.replays == 0).await;
    let count = |id: &str| world.received(&webhook).iter().filter(|one| *one == id).count();
    assert_eq!(
        [count("evt_1_0"), count("evt_2_0"), count("evt_2_1"), count("evt_3_0")],
        [1, 2, 1, 1]
    );
    process.stop().await;
    let shown = world.shown(&webhook).await;
    assert_eq!((shown.dead, shown.retrying), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_paused_endpoint_gets_nothing_and_goes_on_where_it_stopped() {
    let world = World::new();
    let webhook = world.webhook(1).await;
    world.fill(2);
    let process = world.process("one");
    world.delivered(&webhook).await;

    world.store.change(&webhook.id, WebhookChange::Pause, "eve").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.fill(3);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(world.received(&webhook).len(), 8);
    world.store.change(&webhook.id, WebhookChange::Resume, "eve").await.unwrap();

    world.delivered(&webhook).await;
    assert_eq!(world.received(&webhook).len(), 20, "each once");
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_endpoint_gets_nothing_more() {
    let world = World::new();
    let (webhook, other) = (world.webhook(1).await, world.webhook(2).await);
    let process = world.process("one");
    world.fill(1);
    world.delivered(&webhook).await;

    world.store.change(&webhook.id, WebhookChange::Remove, "eve").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.fill(1);
    world.delivered(&other).await;

    assert_eq!(world.received(&webhook).len(), 4);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_one_delivers_and_the_other_takes_over_at_once_after_a_stop() {
    let world = World::new();
    let webhook = world.webhook(1).await;
    world.endpoints.answers(&webhook.url, Duration::from_millis(10), |_| 200);
    let (one, two) = (world.process("one"), world.process("two"));
    world.fill(40);
    world.delivered(&webhook).await;

    one.stop().await;
    world.fill(40);
    let begun = tokio::time::Instant::now();
    world.delivered(&webhook).await;

    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(world.received(&webhook).len(), 320, "each once");
    two.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_is_succeeded_when_its_lease_ends_and_nothing_is_missing() {
    let world = World::new();
    let webhook = world.webhook(1).await;
    world.endpoints.answers(&webhook.url, Duration::from_millis(10), |_| 200);
    let process = world.process("one");
    world.fill(50);
    world.until("some are received", async || !world.received(&webhook).is_empty()).await;
    process.die();
    let before = world.received(&webhook).len();
    assert!((1..200).contains(&before), "{before}");

    let died = tokio::time::Instant::now();
    let second = world.process("two");
    world.delivered(&webhook).await;

    assert!(died.elapsed() < Duration::from_secs(8), "{:?}", died.elapsed());
    assert_in_order(&world.received(&webhook), 50);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_is_noticed_within_a_second_and_a_new_event_at_once() {
    let world = World::new();
    let process = world.process("one");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let added = tokio::time::Instant::now();
    let webhook = world.webhook(1).await;
    world.log.append(&["ann"]);
    world.delivered(&webhook).await;
    assert!(added.elapsed() <= Duration::from_secs(1), "{:?}", added.elapsed());

    let written = tokio::time::Instant::now();
    world.log.append(&["ann"]);
    world.delivered(&webhook).await;

    assert!(written.elapsed() <= Duration::from_millis(150), "{:?}", written.elapsed());
    assert_eq!(world.metrics.times().len(), 2);
    world.until("nothing is pending", async || world.metrics.pending_batches() == 0).await;
    process.stop().await;
}
