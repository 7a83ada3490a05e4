//! Rows of webhooks as values.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::application::ports::{
    DeadDelivery, Event, EventKind, Leased, Replay, Target, Waiting, Webhook, WebhookId,
    WebhookSecret, WebhookState,
};
use crate::infrastructure::persistence::pool::error::DatabaseError;
use crate::infrastructure::persistence::row::from_row;

from_row! {
    /// An endpoint as operators see it.
    pub(super) struct WebhookRow {
        id: String,
        url: String,
        events: Vec<String>,
        state: String,
        reason: Option<String>,
        state_since: DateTime<Utc>,
        position: i64,
        failures: i32,
        failing_since: Option<DateTime<Utc>>,
        next_try_at: Option<DateTime<Utc>>,
        previous_until: Option<DateTime<Utc>>,
        created_at: DateTime<Utc>,
        retrying: i64,
        dead: i64,
        replays: i64,
    }
}

from_row! {
    /// Where to send to.
    pub(super) struct TargetRow {
        url: String,
        secret: String,
        previous_secret: Option<String>,
        read_at: DateTime<Utc>,
    }
}

from_row! {
    /// An endpoint whose lease is held.
    pub(super) struct LeasedRow {
        id: String,
        url: String,
        events: Vec<String>,
        secret: String,
        previous_secret: Option<String>,
        read_at: DateTime<Utc>,
        position: i64,
        failures: i32,
        failing_for: f64,
        next_try_in: f64,
        revision: i64,
        replay_id: Option<i64>,
        replay_position: Option<i64>,
        replay_last: Option<i64>,
    }
}

from_row! {
    /// An event that waits.
    pub(super) struct WaitingRow {
        event_id: String,
        order_key: String,
        kind: String,
        body: Vec<u8>,
        happened_at: DateTime<Utc>,
        written_at: DateTime<Utc>,
        attempts: i32,
    }
}

from_row! {
    /// An event that was given up.
    pub(super) struct DeadRow {
        event_id: String,
        kind: String,
        written_at: DateTime<Utc>,
        attempts: i32,
        last_error: String,
        last_status: Option<i32>,
    }
}

impl WebhookRow {
    pub(super) fn into_webhook(self) -> Result<Webhook, DatabaseError> {
        let state = WebhookState::ALL.into_iter().find(|state| state.as_str() == self.state);
        Ok(Webhook {
            id: WebhookId::new(self.id),
            url: self.url,
            events: kinds(&self.events),
            state: state.ok_or(DatabaseError::Unreadable("webhooks"))?,
            reason: self.reason,
            state_since: self.state_since,
            position: self.position,
            failures: self.failures,
            failing_since: self.failing_since,
            next_try_at: self.next_try_at,
            previous_secret_until: self.previous_until,
            created_at: self.created_at,
            retrying: self.retrying,
            dead: self.dead,
            replays: self.replays,
        })
    }
}

impl TargetRow {
    pub(super) fn into_target(self) -> Target {
        target(&self.url, self.secret, self.previous_secret, self.read_at)
    }
}

impl LeasedRow {
    pub(super) fn into_leased(self) -> Leased {
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let replay = match (self.replay_id, self.replay_position, self.replay_last) {
            (Some(id), Some(position), Some(last)) => Some(Replay { id, position, last }),
            _ => None,
        };
        Leased {
            id: WebhookId::new(self.id),
            target: target(&self.url, self.secret, self.previous_secret, self.read_at),
            events: kinds(&self.events),
            position: self.position,
            failures: u32::try_from(self.failures).unwrap_or_default(),
            failing_for: seconds(self.failing_for),
            next_try_in: seconds(self.next_try_in),
            replay,
            revision: self.revision,
        }
    }
}

impl WaitingRow {
    pub(super) fn into_waiting(self) -> Result<Waiting, DatabaseError> {
        let event = Event {
            id: self.event_id,
            kind: kind(&self.kind)?,
            order_key: self.order_key,
            time: self.happened_at,
            body: Bytes::from(self.body),
        };
        let attempts = u32::try_from(self.attempts).unwrap_or_default();
        Ok(Waiting { event, written_at: self.written_at, attempts })
    }
}

impl DeadRow {
    pub(super) fn into_dead(self) -> Result<DeadDelivery, DatabaseError> {
        Ok(DeadDelivery {
            event_id: self.event_id,
            kind: kind(&self.kind)?,
            written_at: self.written_at,
            attempts: self.attempts,
            last_error: self.last_error,
            last_status: self.last_status.and_then(|status| u16::try_from(status).ok()),
        })
    }
}

fn target(url: &str, secret: String, previous: Option<String>, read_at: DateTime<Utc>) -> Target {
    let secrets = std::iter::once(secret).chain(previous).map(WebhookSecret::new).collect();
    Target { url: url.into(), secrets, read_at }
}

/// Kinds that a later release has added are left out. Only lists show such an endpoint, because no delivery takes it.
fn kinds(names: &[String]) -> Vec<EventKind> {
    names.iter().filter_map(|name| EventKind::parse(name)).collect()
}

fn kind(name: &str) -> Result<EventKind, DatabaseError> {
    EventKind::parse(name).ok_or(DatabaseError::Unreadable("webhook_deliveries"))
}
