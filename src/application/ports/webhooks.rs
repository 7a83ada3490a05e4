//! Webhooks: endpoints of other systems, which receive every event by HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::events::{Event, EventKind};
use super::system::PortError;

/// Maximum number of endpoints.
pub const MAX_WEBHOOKS: usize = 100;
/// Maximum number of events of one endpoint that wait for a retry, or behind one that does. Above it, the endpoint's events stay
/// in the log.
pub const MAX_HELD: usize = 10_000;
/// Longest error that is stored, in characters.
pub const MAX_ERROR_CHARS: usize = 500;

/// The id of an endpoint, such as `wh_01J9…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookId(String);

impl WebhookId {
    /// Takes an id that exists or that is new.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A signing secret: `whsec_` and base64. No log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(String);

impl WebhookSecret {
    /// Takes a secret in its written form.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its written form: to sign with, to store, or to show once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// Whether an endpoint receives events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    /// It does.
    Active,
    /// An operator has paused it. Its events stay in the log.
    Paused,
    /// It has failed for too long, or has said that it is gone. Its events stay in the log.
    Disabled,
}

impl WebhookState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Disabled];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

/// A new endpoint.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Its id.
    pub id: WebhookId,
    /// Where events are sent.
    pub url: String,
    /// The kinds that it receives; empty for all.
    pub events: Vec<EventKind>,
    /// Its secret.
    pub secret: WebhookSecret,
    /// The last batch that it does not receive.
    pub position: i64,
}

/// An endpoint as operators see it, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where events are sent.
    pub url: String,
    /// The kinds that it receives; empty for all.
    pub events: Vec<EventKind>,
    /// Whether it receives them.
    pub state: WebhookState,
    /// Why it is in this state, unless active.
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub state_since: DateTime<Utc>,
    /// The last batch of the log that was delivered whole.
    pub position: i64,
    /// Probes that failed since it last answered with success; 0 unless it fails as a whole.
    pub failures: i32,
    /// Since when it fails as a whole.
    pub failing_since: Option<DateTime<Utc>>,
    /// When the next probe is due, if it fails as a whole.
    pub next_try_at: Option<DateTime<Utc>>,
    /// When the previous secret stops to sign, if there is one.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// Events that wait for a retry, or behind one that does.
    pub retrying: i64,
    /// Events that were given up.
    pub dead: i64,
    /// Replays that are not finished.
    pub replays: i64,
}

/// An event that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadDelivery {
    /// The event.
    pub event_id: String,
    /// Its kind.
    pub kind: EventKind,
    /// When it was written.
    pub written_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: i32,
    /// Why the last try failed.
    pub last_error: String,
    /// The status of the last answer, if there was one.
    pub last_status: Option<u16>,
}

/// What an operator asks of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookChange {
    /// Send nothing until it is resumed.
    Pause,
    /// Send again, from where it stopped, at once.
    Resume,
    /// Forget it, with everything that waits for it.
    Remove,
}

/// A stretch of the log that is sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Its number.
    pub id: i64,
    /// The last batch that was sent again whole.
    pub position: i64,
    /// The last batch of it.
    pub last: i64,
}

/// A replay that an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewReplay {
    /// Batches that were written at this time or later.
    pub since: DateTime<Utc>,
    /// And before this time, if any.
    pub until: Option<DateTime<Utc>>,
    /// The batch before the first of it.
    pub position: i64,
    /// The last batch of it.
    pub last: i64,
}

/// What operators do with endpoints. Each change MUST be committed together with its row in the audit, or not at all.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// Adds an endpoint. `false` if there are [`MAX_WEBHOOKS`] already.
    async fn add(&self, webhook: &NewWebhook, actor: &str) -> Result<bool, PortError>;

    /// All endpoints, oldest first.
    async fn list(&self) -> Result<Vec<Webhook>, PortError>;

    /// Changes an endpoint. `false` if it does not exist. A change that is already in place succeeds.
    async fn change(
        &self,
        id: &WebhookId,
        change: WebhookChange,
        actor: &str,
    ) -> Result<bool, PortError>;

    /// Gives an endpoint a new secret. The one before MUST sign as well for this long, and those before it no more. `false` if it
    /// does not exist.
    async fn rotate(
        &self,
        id: &WebhookId,
        secret: &WebhookSecret,
        overlap: Duration,
        actor: &str,
    ) -> Result<bool, PortError>;

    /// Where to send to, and the secrets that sign; `None` if it does not exist.
    async fn target(&self, id: &WebhookId) -> Result<Option<Target>, PortError>;

    /// Events that were given up, newest first, up to a number.
    async fn dead(&self, id: &WebhookId, limit: u32) -> Result<Vec<DeadDelivery>, PortError>;

    /// Stores a replay, and lets events of its time that were given up be tried again. `None` if the endpoint does not exist,
    /// else how many were put back.
    async fn replay(
        &self,
        id: &WebhookId,
        replay: &NewReplay,
        actor: &str,
    ) -> Result<Option<u64>, PortError>;
}

/// Where to send to, and what signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The URL.
    pub url: Arc<str>,
    /// The secrets that sign, the current one first. Never empty.
    pub secrets: Vec<WebhookSecret>,
    /// The database's clock when this was read.
    pub read_at: DateTime<Utc>,
}

/// An endpoint that this process delivers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// Its id.
    pub id: WebhookId,
    /// Where to send to.
    pub target: Target,
    /// The kinds that it receives; empty for all.
    pub events: Vec<EventKind>,
    /// The last batch that was delivered whole.
    pub position: i64,
    /// Probes that failed, if it fails as a whole.
    pub failures: u32,
    /// For how long it has failed as a whole.
    pub failing_for: Duration,
    /// Time until the next probe, if it fails as a whole.
    pub next_try_in: Duration,
    /// The oldest replay that is not finished.
    pub replay: Option<Replay>,
    /// Grows when an operator has resumed it, or asks for a replay: what a running delivery has in memory is outdated then.
    pub revision: i64,
}

/// An event that waits for a retry, and all that is needed to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The event.
    pub event: Event,
    /// When its batch was written.
    pub written_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: u32,
}

/// An event that could not be delivered with those around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The event, which waits.
    pub waiting: Waiting,
    /// Time until the next try.
    pub next_try_in: Duration,
    /// Why the last try failed; empty if it only waits behind another.
    pub failure: Failure,
}

/// Why a try failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub error: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
}

/// The end of a retry that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The event.
    pub event_id: String,
    /// How often it was tried, this time included.
    pub attempts: u32,
    /// Time until the next try; `None` gives it up.
    pub next_try_in: Option<Duration>,
    /// Why.
    pub failure: Failure,
}

/// The state of an endpoint that fails as a whole; all zero for one that does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outage {
    /// Probes that failed.
    pub failures: u32,
    /// Time until the next probe.
    pub next_try_in: Duration,
}

/// What a delivery has achieved since it was last stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last batch of the log that is settled whole.
    pub position: i64,
    /// A replay, and the last batch of it that is settled whole.
    pub replay: Option<Replay>,
    /// Events that wait from now on.
    pub set_aside: Vec<SetAside>,
    /// Events that waited and are delivered.
    pub delivered: Vec<String>,
    /// Events that waited and failed again.
    pub retried: Vec<Retried>,
    /// Whether it fails as a whole.
    pub outage: Outage,
}

/// What deliveries store. One process at a time delivers to an endpoint: the owner of its lease.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait DeliveryStore: Send + Sync {
    /// Takes the leases of active endpoints that no other owner holds, renews this owner's, and returns all that it holds now. MUST
    /// go by the database's clock, and MUST NOT return an endpoint whose lease another owner holds.
    async fn lease(&self, owner: &str, term: Duration) -> Result<Vec<Leased>, PortError>;

    /// Gives a lease back, if it is still this owner's.
    async fn release(&self, id: &WebhookId, owner: &str) -> Result<(), PortError>;

    /// Stores progress, all or nothing. MUST store nothing, and return `false`, if this owner does not hold the lease any more.
    /// An event that waits already is not stored again; one that was given up waits again.
    async fn save(
        &self,
        id: &WebhookId,
        owner: &str,
        progress: &Progress,
    ) -> Result<bool, PortError>;

    /// The keys of order that wait, each with its event, up to [`MAX_HELD`] and those behind one write.
    async fn held(&self, id: &WebhookId) -> Result<Vec<(String, String)>, PortError>;

    /// Events whose try is due, the first of each key of order, oldest first. With `anyway`, those that are not due yet too.
    async fn due(
        &self,
        id: &WebhookId,
        limit: u32,
        anyway: bool,
    ) -> Result<Vec<Waiting>, PortError>;

    /// Disables an endpoint with a reason, if this owner still holds the lease.
    async fn disable(&self, id: &WebhookId, owner: &str, reason: &str) -> Result<bool, PortError>;

    /// All endpoints together.
    async fn overview(&self) -> Result<WebhookOverview, PortError>;
}

/// All endpoints together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebhookOverview {
    /// Endpoints in each state, in the order of [`WebhookState::ALL`].
    pub states: [i64; 3],
    /// Active endpoints that fail as a whole.
    pub failing: i64,
    /// Events that were given up.
    pub dead: i64,
}

/// A request to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id of the event, the same at every try.
    pub id: String,
    /// When it is sent: receivers refuse old ones.
    pub at: DateTime<Utc>,
    /// What is signed and sent.
    pub body: Bytes,
}

/// The answer of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointAnswer {
    /// The status.
    pub status: u16,
    /// How long it asks to be left alone, if it does.
    pub retry_after: Option<Duration>,
    /// The beginning of the body, as text.
    pub beginning: String,
}

/// Why there is no answer: in words, for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Why a URL cannot be an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnfitUrl(pub String);

/// Sends events to endpoints, by the Standard Webhooks specification (<https://www.standardwebhooks.com>).
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait WebhookSender: Send + Sync {
    /// The normal form of a URL that may be an endpoint.
    fn endpoint(&self, url: &str) -> Result<String, UnfitUrl>;

    /// Signs and sends. MUST end within a bounded time, MUST NOT follow a redirect, and MUST NOT connect to an address that is
    /// not allowed, however the name resolves at this moment.
    async fn send(&self, target: &Target, message: &Message) -> Result<EndpointAnswer, NoAnswer>;
}

/// Makes ids and secrets of endpoints.
pub trait WebhookSecrets: Send + Sync {
    /// A new id. `None` if the machine has no randomness.
    fn id(&self) -> Option<WebhookId>;

    /// A new secret. `None` if the machine has no randomness.
    fn secret(&self) -> Option<WebhookSecret>;
}

/// What became of a try to deliver, or of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryOutcome {
    /// Answered with success.
    Delivered,
    /// Answered with another status, or not at all.
    Failed,
    /// The endpoint asked to be left alone for a while.
    SlowedDown,
    /// An event was given up.
    Dead,
    /// An endpoint was disabled.
    Disabled,
}

impl DeliveryOutcome {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Delivered, Self::Failed, Self::SlowedDown, Self::Dead, Self::Disabled];

    /// Its label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::SlowedDown => "slowed_down",
            Self::Dead => "dead",
            Self::Disabled => "disabled",
        }
    }
}

/// Counts deliveries.
pub trait DeliveryMetrics: Send + Sync {
    /// Something happened to a delivery or an endpoint.
    fn counted(&self, outcome: DeliveryOutcome);

    /// An event was delivered this long after it was written.
    fn delivered_after(&self, time: Duration);

    /// How many events the endpoint of this process that is furthest behind has before it.
    fn pending(&self, events: i64);

    /// All endpoints together.
    fn overview(&self, overview: &WebhookOverview);
}
