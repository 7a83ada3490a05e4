//! Webhooks, with what waits for them, in memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::tokio_clock::TokioClock;
use crate::application::ports::{
    DeadDelivery, DeliveryStore, Failure, Leased, MAX_WEBHOOKS, NewReplay, NewWebhook, Outage,
    PortError, Progress, Replay, Target, Waiting, Webhook, WebhookChange, WebhookId,
    WebhookOverview, WebhookSecret, WebhookState, WebhookStore,
};

/// Webhooks by the runtime's time.
pub(crate) struct FakeWebhooks {
    clock: Arc<TokioClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    webhooks: Vec<Row>,
    waiting: Vec<WaitingRow>,
    replays: Vec<(WebhookId, Replay)>,
    numbers: i64,
}

struct Row {
    webhook: NewWebhook,
    previous: Option<(WebhookSecret, DateTime<Utc>)>,
    created_at: DateTime<Utc>,
    state: (WebhookState, Option<String>, DateTime<Utc>),
    position: i64,
    outage: Outage,
    failing_since: Option<DateTime<Utc>>,
    next_try_at: Option<DateTime<Utc>>,
    lease: Option<(String, DateTime<Utc>)>,
    revision: i64,
}

struct WaitingRow {
    webhook: WebhookId,
    waiting: Waiting,
    next_try_at: DateTime<Utc>,
    is_dead: bool,
    failure: Failure,
}

impl FakeWebhooks {
    /// None yet, by a clock of its own.
    pub(crate) fn new() -> Arc<Self> {
        Self::by(TokioClock::new())
    }

    /// None yet, by this clock.
    pub(crate) fn by(clock: Arc<TokioClock>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    /// The replays that are not finished: behind which batch each begins, and its last.
    pub(crate) fn replays(&self, id: &WebhookId) -> Vec<(i64, i64)> {
        let state = self.state.lock().unwrap();
        let own = state.replays.iter().filter(|(owner, _)| owner == id);
        own.map(|(_, replay)| (replay.position, replay.last)).collect()
    }
}

impl State {
    fn find(&mut self, id: &WebhookId) -> Option<&mut Row> {
        self.webhooks.iter_mut().find(|row| row.webhook.id == *id)
    }

    fn count(&self, id: &WebhookId, dead: bool) -> i64 {
        let own = self.waiting.iter().filter(|row| row.webhook == *id && row.is_dead == dead);
        i64::try_from(own.count()).unwrap()
    }

    fn shown(&self, row: &Row, now: DateTime<Utc>) -> Webhook {
        let id = &row.webhook.id;
        let replays = self.replays.iter().filter(|(owner, _)| owner == id).count();
        let previous = row.previous.as_ref().map(|(_, until)| *until);
        Webhook {
            id: id.clone(),
            url: row.webhook.url.clone(),
            events: row.webhook.events.clone(),
            state: row.state.0,
            reason: row.state.1.clone(),
            state_since: row.state.2,
            position: row.position,
            failures: i32::try_from(row.outage.failures).unwrap(),
            failing_since: row.failing_since,
            next_try_at: row.next_try_at,
            previous_secret_until: previous.filter(|until| *until > now),
            created_at: row.created_at,
            retrying: self.count(id, false),
            dead: self.count(id, true),
            replays: i64::try_from(replays).unwrap(),
        }
    }
}

impl Row {
    fn target(&self, now: DateTime<Utc>) -> Target {
        let previous = self.previous.iter().filter(|(_, until)| *until > now);
        let previous = previous.map(|(secret, _)| secret.clone());
        Target {
            url: self.webhook.url.as_str().into(),
            secrets: std::iter::once(self.webhook.secret.clone()).chain(previous).collect(),
            read_at: now,
        }
    }

    fn is_leased_to(&self, owner: &str, now: DateTime<Utc>) -> bool {
        self.lease.as_ref().is_some_and(|(holder, until)| holder == owner && *until > now)
    }

    fn set_state(&mut self, state: WebhookState, reason: Option<&str>, now: DateTime<Utc>) {
        self.state = (state, reason.map(str::to_owned), now);
    }

    fn reset_outage(&mut self) {
        (self.outage, self.failing_since, self.next_try_at) = (Outage::default(), None, None);
        self.revision += 1;
    }
}

#[async_trait]
impl WebhookStore for FakeWebhooks {
    async fn add(&self, webhook: &NewWebhook, _: &str) -> Result<bool, PortError> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        if state.webhooks.len() >= MAX_WEBHOOKS {
            return Ok(false);
        }
        state.webhooks.push(Row {
            position: webhook.position,
            webhook: webhook.clone(),
            previous: None,
            created_at: now,
            state: (WebhookState::Active, None, now),
            outage: Outage::default(),
            failing_since: None,
            next_try_at: None,
            lease: None,
            revision: 0,
        });
        Ok(true)
    }

    async fn list(&self) -> Result<Vec<Webhook>, PortError> {
        let now = self.clock.now();
        let state = self.state.lock().unwrap();
        Ok(state.webhooks.iter().map(|row| state.shown(row, now)).collect())
    }

    async fn change(
        &self,
        id: &WebhookId,
        change: WebhookChange,
        _: &str,
    ) -> Result<bool, PortError> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let Some(row) = state.find(id) else { return Ok(false) };
        match change {
            WebhookChange::Pause if row.state.0 == WebhookState::Paused => {}
            WebhookChange::Pause => {
                row.set_state(WebhookState::Paused, Some("paused by an operator"), now);
            }
            WebhookChange::Resume => {
                if row.state.0 != WebhookState::Active {
                    row.set_state(WebhookState::Active, None, now);
                }
                row.reset_outage();
            }
            WebhookChange::Remove => {
                state.webhooks.retain(|row| row.webhook.id != *id);
                state.waiting.retain(|row| row.webhook != *id);
                state.replays.retain(|(owner, _)| owner != id);
            }
        }
        Ok(true)
    }

    async fn rotate(
        &self,
        id: &WebhookId,
        secret: &WebhookSecret,
        overlap: Duration,
        _: &str,
    ) -> Result<bool, PortError> {
        let until = self.clock.now() + overlap;
        let mut state = self.state.lock().unwrap();
        let Some(row) = state.find(id) else { return Ok(false) };
        let previous = std::mem::replace(&mut row.webhook.secret, secret.clone());
        row.previous = Some((previous, until));
        Ok(true)
    }

    async fn target(&self, id: &WebhookId) -> Result<Option<Target>, PortError> {
        let now = self.clock.now();
        Ok(self.state.lock().unwrap().find(id).map(|row| row.target(now)))
    }

    async fn dead(&self, id: &WebhookId, limit: u32) -> Result<Vec<DeadDelivery>, PortError> {
        let state = self.state.lock().unwrap();
        let own = state.waiting.iter().filter(|row| row.webhook == *id && row.is_dead).rev();
        let shown = own.take(limit as usize).map(|row| DeadDelivery {
            event_id: row.waiting.event.id.clone(),
            kind: row.waiting.event.kind,
            written_at: row.waiting.written_at,
            attempts: i32::try_from(row.waiting.attempts).unwrap(),
            last_error: row.failure.error.clone(),
            last_status: row.failure.status,
        });
        Ok(shown.collect())
    }

    async fn replay(
        &self,
        id: &WebhookId,
        replay: &NewReplay,
        _: &str,
    ) -> Result<Option<u64>, PortError> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let Some(row) = state.find(id) else { return Ok(None) };
        row.revision += 1;
        if replay.last > replay.position {
            state.numbers += 1;
            let (number, NewReplay { position, last, .. }) = (state.numbers, *replay);
            state.replays.push((id.clone(), Replay { id: number, position, last }));
        }
        let mut put_back = 0;
        for row in state.waiting.iter_mut().filter(|row| row.webhook == *id && row.is_dead) {
            let written_at = row.waiting.written_at;
            if written_at >= replay.since && replay.until.is_none_or(|until| written_at < until) {
                (row.is_dead, row.waiting.attempts, row.next_try_at) = (false, 0, now);
                put_back += 1;
            }
        }
        Ok(Some(put_back))
    }
}

#[async_trait]
impl DeliveryStore for FakeWebhooks {
    async fn lease(&self, owner: &str, term: Duration) -> Result<Vec<Leased>, PortError> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let replays = state.replays.clone();
        let mut leased = Vec::new();
        for row in state.webhooks.iter_mut().filter(|row| row.state.0 == WebhookState::Active) {
            let others =
                |(holder, until): &(String, DateTime<Utc>)| holder != owner && *until > now;
            if row.lease.as_ref().is_some_and(others) {
                continue;
            }
            row.lease = Some((owner.to_owned(), now + term));
            let since = |time: Option<DateTime<Utc>>| (now - time.unwrap_or(now)).to_std();
            let until = |time: Option<DateTime<Utc>>| (time.unwrap_or(now) - now).to_std();
            let own = replays.iter().find(|(webhook, _)| *webhook == row.webhook.id);
            leased.push(Leased {
                id: row.webhook.id.clone(),
                target: row.target(now),
                events: row.webhook.events.clone(),
                position: row.position,
                failures: row.outage.failures,
                failing_for: since(row.failing_since).unwrap_or_default(),
                next_try_in: until(row.next_try_at).unwrap_or_default(),
                replay: own.map(|(_, replay)| *replay),
                revision: row.revision,
            });
        }
        Ok(leased)
    }

    async fn release(&self, id: &WebhookId, owner: &str) -> Result<(), PortError> {
        let mut state = self.state.lock().unwrap();
        if let Some(row) = state.find(id) {
            row.lease.take_if(|(holder, _)| holder == owner);
        }
        Ok(())
    }

    async fn save(
        &self,
        id: &WebhookId,
        owner: &str,
        progress: &Progress,
    ) -> Result<bool, PortError> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let Some(row) = state.find(id).filter(|row| row.is_leased_to(owner, now)) else {
            return Ok(false);
        };
        row.position = row.position.max(progress.position);
        row.outage = progress.outage;
        let is_failing = progress.outage.failures > 0;
        row.failing_since = is_failing.then(|| row.failing_since.unwrap_or(now));
        row.next_try_at = is_failing.then(|| now + progress.outage.next_try_in);
        let waits =
            |row: &WaitingRow, event: &str| row.webhook == *id && row.waiting.event.id == event;
        let delivered: HashSet<_> = progress.delivered.iter().collect();
        state
            .waiting
            .retain(|row| row.webhook != *id || !delivered.contains(&row.waiting.event.id));
        for retried in &progress.retried {
            let known = state.waiting.iter_mut().find(|row| waits(row, &retried.event_id));
            if let Some(row) = known {
                row.waiting.attempts = retried.attempts;
                row.failure = retried.failure.clone();
                row.is_dead = retried.next_try_in.is_none();
                row.next_try_at = now + retried.next_try_in.unwrap_or_default();
            }
        }
        for set_aside in &progress.set_aside {
            let event = &set_aside.waiting.event.id;
            state.waiting.retain(|row| !(row.is_dead && waits(row, event)));
            if !state.waiting.iter().any(|row| waits(row, event)) {
                state.waiting.push(WaitingRow {
                    webhook: id.clone(),
                    waiting: set_aside.waiting.clone(),
                    next_try_at: now + set_aside.next_try_in,
                    is_dead: false,
                    failure: set_aside.failure.clone(),
                });
            }
        }
        if let Some(done) = progress.replay {
            for (_, replay) in state.replays.iter_mut().filter(|(_, replay)| replay.id == done.id) {
                replay.position = done.position;
            }
            state.replays.retain(|(_, replay)| replay.id != done.id || done.position < done.last);
        }
        Ok(true)
    }

    async fn held(&self, id: &WebhookId) -> Result<Vec<(String, String)>, PortError> {
        let state = self.state.lock().unwrap();
        let own = state.waiting.iter().filter(|row| row.webhook == *id && !row.is_dead);
        let held = own.map(|row| {
            let event = &row.waiting.event;
            (event.order_key.clone(), event.id.clone())
        });
        Ok(held.collect())
    }

    async fn due(
        &self,
        id: &WebhookId,
        limit: u32,
        anyway: bool,
    ) -> Result<Vec<Waiting>, PortError> {
        let now = self.clock.now();
        let state = self.state.lock().unwrap();
        let mut keys = HashSet::new();
        let own = state.waiting.iter().filter(|row| row.webhook == *id && !row.is_dead);
        let first = own.filter(|row| keys.insert(row.waiting.event.order_key.clone()));
        let due = first.filter(|row| anyway || row.next_try_at <= now);
        Ok(due.take(limit as usize).map(|row| row.waiting.clone()).collect())
    }

    async fn disable(&self, id: &WebhookId, owner: &str, reason: &str) -> Result<bool, PortError> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let Some(row) = state.find(id).filter(|row| row.is_leased_to(owner, now)) else {
            return Ok(false);
        };
        row.set_state(WebhookState::Disabled, Some(reason), now);
        Ok(true)
    }

    async fn overview(&self) -> Result<WebhookOverview, PortError> {
        let listed = self.list().await?;
        let count = |is_counted: &dyn Fn(&&Webhook) -> bool| {
            i64::try_from(listed.iter().filter(is_counted).count()).unwrap()
        };
        let is_active = |webhook: &&Webhook| webhook.state == WebhookState::Active;
        Ok(WebhookOverview {
            states: WebhookState::ALL.map(|state| count(&|webhook| webhook.state == state)),
            failing: count(&|webhook| is_active(webhook) && webhook.failures > 0),
            dead: listed.iter().map(|webhook| webhook.dead).sum(),
        })
    }
}
