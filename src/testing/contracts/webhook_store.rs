//! What [`WebhookStore`] and [`DeliveryStore`] promise.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::eventually;
use crate::application::ports::{
    DeliveryStore, EventKind, Failure, MAX_WEBHOOKS, NewReplay, NewWebhook, Outage, Progress,
    Replay, Retried, SetAside, Waiting, Webhook, WebhookChange, WebhookId, WebhookSecret,
    WebhookState, WebhookStore,
};
use crate::testing::builders::{at, batch_of, new_webhook};

/// Long enough for a slow machine.
const TERM: Duration = Duration::from_mins(10);
const OVERLAP: Duration = Duration::from_hours(24);

/// A database that stores webhooks.
#[async_trait]
pub(crate) trait WebhookWorld: Send + Sync {
    /// What operators use.
    async fn webhooks(&self) -> Arc<dyn WebhookStore>;
    /// What deliveries use.
    async fn deliveries(&self) -> Arc<dyn DeliveryStore>;
}

/// Makes the suite tests over a world.
macro_rules! webhook_store_contract {
    ($world:expr) => {
        crate::testing::contracts::cases! { webhook_store in $world =>
            an_added_endpoint_is_listed_with_its_target
            there_are_never_more_endpoints_than_allowed
            the_secret_before_signs_only_until_its_time
            a_change_of_an_endpoint_that_does_not_exist_is_no_change
            of_several_owners_one_holds_a_lease_until_it_ends_or_is_released
            only_active_endpoints_are_leased
            nothing_is_stored_without_the_lease
            progress_never_moves_the_position_back
            events_that_wait_come_in_order_and_one_of_a_key_at_a_time
            an_event_is_not_due_before_its_time
            an_event_that_was_given_up_is_shown_and_a_replay_puts_it_back
            a_replay_is_kept_until_its_last_batch_is_settled
            an_outage_is_kept_and_a_resumed_endpoint_has_none
            a_disabled_endpoint_has_its_reason
            the_overview_counts_all
        }
    };
}
pub(crate) use webhook_store_contract;

struct Stores {
    webhooks: Arc<dyn WebhookStore>,
    deliveries: Arc<dyn DeliveryStore>,
    webhook: NewWebhook,
}

impl Stores {
    /// With one endpoint, which "one" has leased.
    async fn of(world: &dyn WebhookWorld) -> Self {
        let (webhooks, deliveries) = (world.webhooks().await, world.deliveries().await);
        let webhook = new_webhook(1);
        assert!(webhooks.add(&webhook, "eve").await.unwrap());
        assert_eq!(deliveries.lease("one", TERM).await.unwrap().len(), 1);
        Self { webhooks, deliveries, webhook }
    }

    async fn shown(&self) -> Webhook {
        self.webhooks.list().await.unwrap().remove(0)
    }

    async fn save(&self, progress: Progress) -> bool {
        self.deliveries.save(&self.webhook.id, "one", &progress).await.unwrap()
    }

    /// Sets the first event of each batch aside.
    async fn set_aside(&self, events: &[(i64, &str)], pause: Duration) {
        let set_aside = events.iter().map(|(batch, buyer)| set_aside(*batch, buyer, pause));
        let set_aside = set_aside.collect();
        assert!(self.save(Progress { set_aside, ..Progress::default() }).await);
    }

    async fn due(&self, anyway: bool) -> Vec<String> {
        let due = self.deliveries.due(&self.webhook.id, 10, anyway).await.unwrap();
        due.into_iter().map(|waiting| waiting.event.id).collect()
    }
}

fn set_aside(batch: i64, buyer: &str, next_try_in: Duration) -> SetAside {
    let mut batch = batch_of(batch, &[buyer]);
    let event = batch.events.remove(0);
    let waiting = Waiting { event, written_at: batch.written_at, attempts: 1 };
    let failure = Failure { error: "answered 500".to_owned(), status: Some(500) };
    SetAside { waiting, next_try_in, failure }
}

fn given_up(event: &str) -> Progress {
    let failure = Failure { error: "answered 422".to_owned(), status: Some(422) };
    let event_id = event.to_owned();
    let retried = vec![Retried { event_id, attempts: 9, next_try_in: None, failure }];
    Progress { retried, ..Progress::default() }
}

pub(crate) async fn an_added_endpoint_is_listed_with_its_target(world: &dyn WebhookWorld) {
    let store = world.webhooks().await;
    let events = vec![EventKind::SaleEnded, EventKind::PurchaseSettled];
    let webhook = NewWebhook { events, position: 7, ..new_webhook(1) };

    assert!(store.add(&webhook, "eve").await.unwrap());

    let listed = store.list().await.unwrap().remove(0);
    assert_eq!((&listed.id, &listed.url, listed.position), (&webhook.id, &webhook.url, 7));
    assert_eq!((&listed.events, listed.state), (&webhook.events, WebhookState::Active));
    let target = store.target(&webhook.id).await.unwrap().unwrap();
    assert_eq!((&*target.url, &target.secrets[..]), (&*webhook.url, &[webhook.secret][..]));
    assert_eq!(store.target(&WebhookId::new("wh_0")).await.unwrap(), None);
}

pub(crate) async fn there_are_never_more_endpoints_than_allowed(world: &dyn WebhookWorld) {
    let store = world.webhooks().await;
    for number in 1..=i64::try_from(MAX_WEBHOOKS).unwrap() {
        assert!(store.add(&new_webhook(number), "eve").await.unwrap());
    }

    assert!(!store.add(&new_webhook(0), "eve").await.unwrap());
}

pub(crate) async fn the_secret_before_signs_only_until_its_time(world: &dyn WebhookWorld) {
    let Stores { webhooks, webhook, .. } = Stores::of(world).await;
    let [second, third] = ["whsec_2", "whsec_3"].map(WebhookSecret::new);
    let secrets = async || webhooks.target(&webhook.id).await.unwrap().unwrap().secrets;

    assert!(webhooks.rotate(&webhook.id, &second, OVERLAP, "eve").await.unwrap());
    assert_eq!(secrets().await, [second.clone(), webhook.secret.clone()]);
    assert!(webhooks.list().await.unwrap()[0].previous_secret_until.is_some());
    assert!(webhooks.rotate(&webhook.id, &third, Duration::ZERO, "eve").await.unwrap());

    eventually("only the last one signs", async || secrets().await == [third.clone()]).await;
    assert_eq!(webhooks.list().await.unwrap()[0].previous_secret_until, None);
}

pub(crate) async fn a_change_of_an_endpoint_that_does_not_exist_is_no_change(
    world: &dyn WebhookWorld,
) {
    let (store, id) = (world.webhooks().await, WebhookId::new("wh_0"));
    let replay = NewReplay { since: at(0), until: None, position: 0, last: 1 };

    for change in [WebhookChange::Pause, WebhookChange::Resume, WebhookChange::Remove] {
        assert!(!store.change(&id, change, "eve").await.unwrap());
    }
    assert!(!store.rotate(&id, &WebhookSecret::new("whsec_1"), OVERLAP, "eve").await.unwrap());
    assert_eq!(store.replay(&id, &replay, "eve").await.unwrap(), None);
}

pub(crate) async fn of_several_owners_one_holds_a_lease_until_it_ends_or_is_released(
    world: &dyn WebhookWorld,
) {
    let Stores { deliveries, webhook, .. } = Stores::of(world).await;
    let holds = async |owner: &str, term| !deliveries.lease(owner, term).await.unwrap().is_empty();

    assert!(!holds("two", TERM).await);
    assert!(holds("one", TERM).await);
    deliveries.release(&webhook.id, "two").await.unwrap();
    assert!(!holds("two", TERM).await, "it was not its own to release");
    deliveries.release(&webhook.id, "one").await.unwrap();
    holds("two", Duration::from_millis(1)).await;

    eventually("the lease ends", async || holds("one", TERM).await).await;
    assert!(!holds("two", TERM).await);
}

pub(crate) async fn only_active_endpoints_are_leased(world: &dyn WebhookWorld) {
    let Stores { webhooks, deliveries, webhook } = Stores::of(world).await;
    let leased = async || deliveries.lease("one", TERM).await.unwrap();
    let before = leased().await.remove(0).revision;

    webhooks.change(&webhook.id, WebhookChange::Pause, "eve").await.unwrap();
    assert_eq!(leased().await, []);
    webhooks.change(&webhook.id, WebhookChange::Resume, "eve").await.unwrap();
    assert!(leased().await.remove(0).revision > before);
    webhooks.change(&webhook.id, WebhookChange::Remove, "eve").await.unwrap();

    assert_eq!(leased().await, []);
    assert_eq!(webhooks.list().await.unwrap(), []);
}

pub(crate) async fn nothing_is_stored_without_the_lease(world: &dyn WebhookWorld) {
    let stores = Stores::of(world).await;
    let id = &stores.webhook.id;
    let progress = Progress {
        position: 5,
        set_aside: vec![set_aside(1, "ann", Duration::ZERO)],
        outage: Outage { failures: 3, next_try_in: TERM },
        ..Progress::default()
    };

    assert!(!stores.deliveries.save(id, "two", &progress).await.unwrap());
    assert!(!stores.deliveries.disable(id, "two", "it fails").await.unwrap());
    let before = stores.shown().await;
    assert_eq!((before.position, before.retrying, before.failures), (0, 0, 0));
    assert_eq!(before.state, WebhookState::Active);
    stores.deliveries.release(id, "one").await.unwrap();
    assert!(!stores.save(progress.clone()).await);
    stores.deliveries.lease("one", TERM).await.unwrap();

    assert!(stores.save(progress).await);
    let after = stores.shown().await;
    assert_eq!((after.position, after.retrying, after.failures), (5, 1, 3));
}

pub(crate) async fn progress_never_moves_the_position_back(world: &dyn WebhookWorld) {
    let stores = Stores::of(world).await;

    for position in [5, 3] {
        assert!(stores.save(Progress { position, ..Progress::default() }).await);
    }

    assert_eq!(stores.shown().await.position, 5);
}

pub(crate) async fn events_that_wait_come_in_order_and_one_of_a_key_at_a_time(
    world: &dyn WebhookWorld,
) {
    let stores = Stores::of(world).await;
    stores.set_aside(&[(3, "bob"), (1, "ann"), (2, "ann")], Duration::ZERO).await;
    // Again, as after a crash.
    stores.set_aside(&[(1, "ann")], TERM).await;

    eventually("both are due", async || stores.due(false).await == ["evt_3_0", "evt_1_0"]).await;
    let mut held = stores.deliveries.held(&stores.webhook.id).await.unwrap();
    held.sort();
    let expected = [("ann", "evt_1_0"), ("ann", "evt_2_0"), ("bob", "evt_3_0")];
    assert_eq!(held, expected.map(|(key, event)| (key.to_owned(), event.to_owned())));
    let delivered = vec!["evt_1_0".to_owned()];
    assert!(stores.save(Progress { delivered, ..Progress::default() }).await);

    assert_eq!(stores.due(false).await, ["evt_3_0", "evt_2_0"]);
    let due = stores.deliveries.due(&stores.webhook.id, 1, false).await.unwrap();
    let expected = set_aside(3, "bob", Duration::ZERO).waiting;
    assert_eq!(due, [expected]);
}

pub(crate) async fn an_event_is_not_due_before_its_time(world: &dyn WebhookWorld) {
    let stores = Stores::of(world).await;
    stores.set_aside(&[(1, "ann")], TERM).await;
    stores.set_aside(&[(2, "ann")], Duration::ZERO).await;

    assert_eq!(stores.due(false).await, Vec::<String>::new(), "the first of its key is not due");
    assert_eq!(stores.due(true).await, ["evt_1_0"]);
    let failure = Failure { error: "answered 500".to_owned(), status: None };
    let next_try_in = Some(Duration::ZERO);
    let event_id = "evt_1_0".to_owned();
    let retried = vec![Retried { event_id, attempts: 4, next_try_in, failure }];
    assert!(stores.save(Progress { retried, ..Progress::default() }).await);

    eventually("it is due", async || stores.due(false).await == ["evt_1_0"]).await;
    let due = stores.deliveries.due(&stores.webhook.id, 1, false).await.unwrap();
    assert_eq!(due[0].attempts, 4);
}

pub(crate) async fn an_event_that_was_given_up_is_shown_and_a_replay_puts_it_back(
    world: &dyn WebhookWorld,
) {
    let stores = Stores::of(world).await;
    let id = &stores.webhook.id;
    stores.set_aside(&[(1, "ann"), (2, "ann"), (3, "bob")], Duration::ZERO).await;
    assert!(stores.save(given_up("evt_1_0")).await);
    assert!(stores.save(given_up("evt_3_0")).await);

    let shown = stores.shown().await;
    assert_eq!((shown.retrying, shown.dead), (1, 2));
    eventually("the next is due", async || stores.due(false).await == ["evt_2_0"]).await;
    let dead = stores.webhooks.dead(id, 10).await.unwrap();
    assert_eq!(dead.len(), 2);
    let ann = dead.iter().find(|dead| dead.event_id == "evt_1_0").unwrap();
    assert_eq!((ann.attempts, ann.last_status, ann.written_at), (9, Some(422), at(1)));
    assert_eq!(ann.last_error, "answered 422");
    let replay = NewReplay { since: at(1), until: Some(at(3)), position: 0, last: 2 };
    assert_eq!(stores.webhooks.replay(id, &replay, "eve").await.unwrap(), Some(1));

    let shown = stores.shown().await;
    assert_eq!((shown.retrying, shown.dead, shown.replays), (2, 1, 1));
    eventually("it is tried again", async || stores.due(false).await == ["evt_1_0"]).await;
    // One that was given up and fails once more, because a replay sent it, waits again.
    stores.set_aside(&[(3, "bob")], Duration::ZERO).await;
    assert_eq!(stores.shown().await.dead, 0);
}

pub(crate) async fn a_replay_is_kept_until_its_last_batch_is_settled(world: &dyn WebhookWorld) {
    let stores = Stores::of(world).await;
    let id = &stores.webhook.id;
    let leased = async || stores.deliveries.lease("one", TERM).await.unwrap().remove(0);
    let revision = leased().await.revision;
    for (position, last) in [(2, 8), (4, 4), (5, 9)] {
        let replay = NewReplay { since: at(1), until: None, position, last };
        assert_eq!(stores.webhooks.replay(id, &replay, "eve").await.unwrap(), Some(0));
    }
    assert_eq!(stores.shown().await.replays, 2, "one of them was empty");
    assert!(leased().await.revision > revision);
    let first = leased().await.replay.unwrap();
    assert_eq!((first.position, first.last), (2, 8));

    let settled = Replay { position: 6, ..first };
    assert!(stores.save(Progress { replay: Some(settled), ..Progress::default() }).await);
    assert_eq!(leased().await.replay, Some(settled));
    let settled = Replay { position: 8, ..first };
    assert!(stores.save(Progress { replay: Some(settled), ..Progress::default() }).await);

    let second = leased().await.replay.unwrap();
    assert_eq!((second.position, second.last), (5, 9));
}

pub(crate) async fn an_outage_is_kept_and_a_resumed_endpoint_has_none(world: &dyn WebhookWorld) {
    let stores = Stores::of(world).await;
    let outage = |failures| Outage { failures, next_try_in: TERM };
    let leased = async || stores.deliveries.lease("one", TERM).await.unwrap().remove(0);

    assert!(stores.save(Progress { outage: outage(1), ..Progress::default() }).await);
    let since = stores.shown().await.failing_since.unwrap();
    assert!(stores.save(Progress { outage: outage(2), ..Progress::default() }).await);
    let shown = stores.shown().await;
    assert_eq!((shown.failures, shown.failing_since), (2, Some(since)));
    assert!(shown.next_try_at.is_some());
    let kept = leased().await;
    assert!(kept.failures == 2 && kept.next_try_in > TERM / 2, "{kept:?}");
    stores.webhooks.change(&stores.webhook.id, WebhookChange::Resume, "eve").await.unwrap();

    let kept = leased().await;
    assert_eq!(
        (kept.failures, kept.failing_for, kept.next_try_in),
        (0, Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(stores.shown().await.failing_since, None);
}

pub(crate) async fn a_disabled_endpoint_has_its_reason(world: &dyn WebhookWorld) {
    let stores = Stores::of(world).await;

    assert!(stores.deliveries.disable(&stores.webhook.id, "one", "it is gone").await.unwrap());

    let shown = stores.shown().await;
    assert_eq!(
        (shown.state, shown.reason.as_deref()),
        (WebhookState::Disabled, Some("it is gone"))
    );
    assert_eq!(stores.deliveries.lease("one", TERM).await.unwrap(), []);
}

pub(crate) async fn the_overview_counts_all(world: &dyn WebhookWorld) {
    let stores = Stores::of(world).await;
    for number in 2..=3 {
        stores.webhooks.add(&new_webhook(number), "eve").await.unwrap();
    }
    stores.webhooks.change(&WebhookId::new("wh_2"), WebhookChange::Pause, "eve").await.unwrap();
    stores.set_aside(&[(1, "ann"), (2, "bob")], Duration::ZERO).await;
    let outage = Outage { failures: 1, next_try_in: TERM };
    assert!(stores.save(Progress { outage, ..given_up("evt_1_0") }).await);

    let overview = stores.deliveries.overview().await.unwrap();

    assert_eq!((overview.states, overview.failing, overview.dead), ([2, 1, 0], 1, 1));
}

mod fake {
    use super::{Arc, DeliveryStore, WebhookStore, WebhookWorld, async_trait};
    use crate::testing::fakes::FakeWebhooks;

    struct FakeWorld(Arc<FakeWebhooks>);

    #[async_trait]
    impl WebhookWorld for FakeWorld {
        async fn webhooks(&self) -> Arc<dyn WebhookStore> {
            self.0.clone()
        }

        async fn deliveries(&self) -> Arc<dyn DeliveryStore> {
            self.0.clone()
        }
    }

    super::webhook_store_contract!(FakeWorld(FakeWebhooks::new()));
}
