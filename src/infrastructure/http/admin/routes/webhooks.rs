//! `/admin/webhooks`: endpoints of other systems that receive events.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::parts::{ReadProblems, WebhookIdText, WholeList, moment, segment};
use crate::application::ports::{
    DeadDelivery, EventKind, NoAnswer, Webhook, WebhookChange, WebhookId,
};
use crate::application::webhooks::add::AddWebhookError;
use crate::application::webhooks::replay::ReplayError;
use crate::application::webhooks::rotate::RotateSecretError;
use crate::domain::time_text::rfc3339;
use crate::infrastructure::http::admin::call::Call;
use crate::infrastructure::http::admin::metrics::Action;
use crate::infrastructure::http::admin::perform::{Done, perform};
use crate::infrastructure::http::admin::state::{Admin, AdminState};
use crate::infrastructure::http::error::problem::Problem;
use crate::infrastructure::http::error::{ApiError, ValidationErrors};
use crate::infrastructure::http::model::schema;
use crate::infrastructure::http::openapi::params::OptionalIdempotencyKeyHeader;
use crate::infrastructure::http::openapi::problems::problems;
use crate::infrastructure::http::request::json_body::read_object;

/// Events that were given up and are shown.
const SHOWN_DEAD: u32 = 100;
/// Characters of an answer that are shown.
const SHOWN_ANSWER: usize = 500;
/// The type of the event that a test sends.
const TEST_EVENT: &str = "flash_sale.webhook.test.v1";

/// A kind of events.
#[derive(ToSchema)]
#[schema(examples("purchase.settled"))]
#[expect(dead_code, reason = "it documents `application::ports::EventKind`")]
enum EventName {
    #[serde(rename = "sale.opened")]
    SaleOpened,
    #[serde(rename = "sale.ended")]
    SaleEnded,
    #[serde(rename = "sale.sold_out")]
    SaleSoldOut,
    #[serde(rename = "item.sold_out")]
    ItemSoldOut,
    #[serde(rename = "purchase.settled")]
    PurchaseSettled,
    #[serde(rename = "purchase.cancelled")]
    PurchaseCancelled,
}

/// Whether a webhook receives events.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case", examples("active"))]
#[expect(dead_code, reason = "it documents `application::ports::WebhookState`")]
enum WebhookStateName {
    Active,
    Paused,
    Disabled,
}

/// A webhook to add.
#[derive(ToSchema)]
#[schema(example = json!({"url": "https://shop.example/hook", "events": ["purchase.settled"]}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `add` parses")]
struct NewWebhookBody {
    /// Where events are sent: an HTTPS address.
    #[schema(min_length = 1, max_length = 2_048)]
    url: String,
    /// Default: all kinds.
    #[schema(value_type = Vec<EventName>, min_items = 1, max_items = 6, required = false)]
    events: Vec<String>,
}

/// A webhook that was added.
#[derive(Serialize, ToSchema)]
struct AddedWebhook {
    #[schema(value_type = WebhookIdText)]
    id: String,
    #[schema(examples("https://shop.example/hook"))]
    url: String,
    #[schema(value_type = Vec<EventName>)]
    events: Vec<&'static str>,
    #[schema(value_type = WebhookStateName)]
    state: &'static str,
    /// What signs its events. It is shown this once.
    #[schema(examples("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"))]
    secret: String,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
struct WebhookBody {
    #[schema(value_type = WebhookIdText)]
    id: String,
    #[schema(examples("https://shop.example/hook"))]
    url: String,
    #[schema(value_type = Vec<EventName>)]
    events: Vec<&'static str>,
    #[schema(value_type = WebhookStateName)]
    state: &'static str,
    /// Why it is in this state, unless active.
    #[schema(value_type = Option<String>, required = true, examples("paused by an operator"))]
    reason: Option<String>,
    #[schema(value_type = schema::Time)]
    state_since: String,
    /// The last batch of the log of events that was delivered whole.
    #[schema(minimum = 0, examples(812))]
    position: i64,
    /// Probes that failed since it last answered with success.
    #[schema(minimum = 0, examples(0))]
    failures: i32,
    #[schema(value_type = Option<schema::Time>, required = true)]
    failing_since: Option<String>,
    #[schema(value_type = Option<schema::Time>, required = true)]
    next_try_at: Option<String>,
    /// Events that wait for a retry, or behind one that does.
    #[schema(minimum = 0, examples(0))]
    retrying: i64,
    /// Events that were given up.
    #[schema(minimum = 0, examples(0))]
    dead: i64,
    /// Replays that are not finished.
    #[schema(minimum = 0, examples(0))]
    replays: i64,
    /// When the secret before stops to sign.
    #[schema(value_type = Option<schema::Time>, required = true)]
    previous_secret_until: Option<String>,
    #[schema(value_type = schema::Time)]
    created_at: String,
}

/// A webhook with the events that were given up.
#[derive(Serialize, ToSchema)]
struct ShownWebhook {
    #[serde(flatten)]
    own: WebhookBody,
    /// The newest hundred.
    dead_letters: Vec<DeadLetter>,
}

/// An event that was given up.
#[derive(Serialize, ToSchema)]
struct DeadLetter {
    #[schema(examples("evt_1"))]
    event_id: String,
    #[serde(rename = "type")]
    #[schema(examples("flash_sale.purchase.settled.v1"))]
    kind: &'static str,
    #[schema(value_type = schema::Time)]
    written_at: String,
    #[schema(minimum = 0, examples(10))]
    attempts: i32,
    /// Null if there was no answer.
    #[schema(value_type = Option<u16>, minimum = 100, maximum = 999, required = true, examples(500))]
    last_status: Option<u16>,
    #[schema(examples("the endpoint answered 500"))]
    last_error: String,
}

/// A webhook that was removed.
#[derive(Serialize, ToSchema)]
struct RemovedWebhook {
    #[schema(value_type = WebhookIdText)]
    id: String,
    #[schema(examples(true))]
    removed: bool,
}

/// A new secret.
#[derive(Serialize, ToSchema)]
struct NewSecret {
    #[schema(value_type = WebhookIdText)]
    id: String,
    /// It is shown this once.
    #[schema(examples("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"))]
    secret: String,
    /// Until then the secret before signs as well.
    #[schema(value_type = Option<schema::Time>, required = true)]
    previous_secret_until: Option<String>,
}

/// What an endpoint has answered to a test.
#[derive(Serialize, ToSchema)]
struct TestBody {
    #[schema(value_type = WebhookIdText)]
    id: String,
    #[schema(examples("evt_test_1"))]
    event_id: String,
    /// 200 to 299 accepts an event. Null if there was no answer.
    #[schema(value_type = Option<u16>, minimum = 100, maximum = 999, required = true, examples(204))]
    status: Option<u16>,
    #[schema(minimum = 0, examples(17))]
    elapsed_ms: u64,
    /// The beginning of its answer.
    #[schema(value_type = Option<String>, required = true, examples(""))]
    answer: Option<String>,
    /// Why there was none.
    #[schema(value_type = Option<String>, required = true, examples("timed out"))]
    error: Option<String>,
}

/// Which events to send once more.
#[derive(ToSchema)]
#[schema(example = json!({"since": "2027-01-31T15:00:00Z"}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it documents the body that `replay` parses")]
struct ReplayRequest {
    /// Events that were written at this time or later.
    #[schema(value_type = schema::Time)]
    since: String,
    /// And before this time. Default: now.
    #[schema(value_type = schema::Time, required = false)]
    until: String,
}

/// What is sent once more.
#[derive(Serialize, ToSchema)]
struct ReplayBody {
    #[schema(value_type = WebhookIdText)]
    id: String,
    #[schema(value_type = schema::Time)]
    since: String,
    #[schema(value_type = Option<schema::Time>, required = true)]
    until: Option<String>,
    /// Batches of events in that time, of all kinds.
    #[schema(minimum = 0, examples(3))]
    batches: i64,
    /// Events that were given up and are tried again.
    #[schema(minimum = 0, examples(1))]
    put_back: u64,
}

problems! {
    /// Errors of reads of a webhook.
    WebhookProblems in Two: "unauthorized" "forbidden" "webhook_not_found";
    /// Errors of changes of a webhook.
    WebhookChangeProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused"
        "answer_lost" "webhook_not_found";
    /// Errors of additions.
    NewWebhookProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused"
        "answer_lost" "change_refused" "unsupported_media_type";
    /// Errors of replays.
    ReplayProblems in Two: "unauthorized" "forbidden" "idempotency_key_in_use" "idempotency_key_reused" "answer_lost"
        "webhook_not_found" "unsupported_media_type";
}

impl From<Webhook> for WebhookBody {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: webhook.id.as_str().to_owned(),
            events: names(&webhook.events),
            state: webhook.state.as_str(),
            reason: webhook.reason,
            state_since: rfc3339(webhook.state_since),
            position: webhook.position,
            failures: webhook.failures,
            failing_since: webhook.failing_since.map(rfc3339),
            next_try_at: webhook.next_try_at.map(rfc3339),
            retrying: webhook.retrying,
            dead: webhook.dead,
            replays: webhook.replays,
            previous_secret_until: webhook.previous_secret_until.map(rfc3339),
            created_at: rfc3339(webhook.created_at),
            url: webhook.url,
        }
    }
}

impl From<DeadDelivery> for DeadLetter {
    fn from(dead: DeadDelivery) -> Self {
        Self {
            event_id: dead.event_id,
            kind: dead.kind.type_name(),
            written_at: rfc3339(dead.written_at),
            attempts: dead.attempts,
            last_status: dead.last_status,
            last_error: dead.last_error,
        }
    }
}

/// List webhooks
///
/// All of them, the oldest first.
#[utoipa::path(
    get,
    path = "/webhooks",
    operation_id = "list_webhooks",
    tag = "webhooks",
    responses((status = 200, description = "All webhooks.", body = WholeList<WebhookBody>), ReadProblems),
)]
pub(crate) async fn list(State(admin): State<AdminState>) -> Result<Response, Problem> {
    let webhooks = admin.read(admin.webhooks.store.list()).await?;
    let webhooks = webhooks.into_iter().map(WebhookBody::from).collect();
    Ok(JsonBody(WholeList::new(webhooks)).into_response())
}

/// Get a webhook
///
/// With the events that were given up.
#[utoipa::path(
    get,
    path = "/webhooks/{webhook_id}",
    operation_id = "show_webhook",
    tag = "webhooks",
    params(("webhook_id" = WebhookIdText, Path, description = "The webhook.")),
    responses((status = 200, description = "The webhook.", body = ShownWebhook), WebhookProblems),
)]
pub(crate) async fn show(
    State(admin): State<AdminState>,
    webhook_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = webhook(webhook_id)?;
    let own = find(&admin, &id).await?;
    let dead = admin.read(admin.webhooks.store.dead(&id, SHOWN_DEAD)).await?;
    let dead_letters = dead.into_iter().map(DeadLetter::from).collect();
    Ok(JsonBody(ShownWebhook { own, dead_letters }).into_response())
}

/// Add a webhook
///
/// It receives what happens from now on.
#[utoipa::path(
    post,
    path = "/webhooks",
    operation_id = "add_webhook",
    tag = "webhooks",
    params(OptionalIdempotencyKeyHeader),
    request_body = NewWebhookBody,
    responses((status = 201, description = "The webhook was added.", body = AddedWebhook), NewWebhookProblems),
)]
pub(crate) async fn add(
    State(admin): State<AdminState>,
    call: Call,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let new = read_object(&call.headers, &body, &mut errors, |members| {
        let url =
            members.required("url", |json| json.text(|text| Ok::<_, String>(text.to_owned())));
        let kinds = EventKind::ALL.len();
        let events = members.optional("events", |json| json.texts(kinds, event_kind));
        Some((url?, events.unwrap_or_default()))
    })?;
    let (Some((url, events)), true) = (new, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let added = own.webhooks.add.execute(&url, events, &actor).await.map_err(not_added)?;
        let body = AddedWebhook {
            id: added.id.as_str().to_owned(),
            url: added.url,
            events: names(&added.events),
            state: "active",
            secret: added.secret.reveal().to_owned(),
        };
        Ok(Done::new(StatusCode::CREATED, &body, Some(Action::WebhookAdded)))
    };
    perform(&admin, request, work).await
}

/// Pause a webhook
///
/// Nothing more is sent until it is resumed. Its events stay in the log.
#[utoipa::path(
    post,
    path = "/webhooks/{webhook_id}/pause",
    operation_id = "pause_webhook",
    tag = "webhooks",
    params(("webhook_id" = WebhookIdText, Path, description = "The webhook."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The webhook as it is now.", body = WebhookBody), WebhookChangeProblems),
)]
pub(crate) async fn pause(
    State(admin): State<AdminState>,
    call: Call,
    webhook_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    change(&admin, call, webhook_id, (WebhookChange::Pause, Action::WebhookPaused)).await
}

/// Resume a webhook
///
/// From where it stopped, also one that was disabled.
#[utoipa::path(
    post,
    path = "/webhooks/{webhook_id}/resume",
    operation_id = "resume_webhook",
    tag = "webhooks",
    params(("webhook_id" = WebhookIdText, Path, description = "The webhook."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The webhook as it is now.", body = WebhookBody), WebhookChangeProblems),
)]
pub(crate) async fn resume(
    State(admin): State<AdminState>,
    call: Call,
    webhook_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    change(&admin, call, webhook_id, (WebhookChange::Resume, Action::WebhookResumed)).await
}

/// Remove a webhook
///
/// With everything that waits for it.
#[utoipa::path(
    delete,
    path = "/webhooks/{webhook_id}",
    operation_id = "remove_webhook",
    tag = "webhooks",
    params(("webhook_id" = WebhookIdText, Path, description = "The webhook."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The webhook was removed.", body = RemovedWebhook), WebhookChangeProblems),
)]
pub(crate) async fn remove(
    State(admin): State<AdminState>,
    call: Call,
    webhook_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (id, request) = (webhook(webhook_id)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        if !own.webhooks.store.change(&id, WebhookChange::Remove, &actor).await? {
            return Err(ApiError::WebhookNotFound.into());
        }
        let body = RemovedWebhook { id: id.as_str().to_owned(), removed: true };
        Ok(Done::new(StatusCode::OK, &body, Some(Action::WebhookRemoved)))
    };
    perform(&admin, request, work).await
}

/// Rotate the secret of a webhook
///
/// The secret before signs as well for 24 hours.
#[utoipa::path(
    post,
    path = "/webhooks/{webhook_id}/rotate-secret",
    operation_id = "rotate_webhook_secret",
    tag = "webhooks",
    params(("webhook_id" = WebhookIdText, Path, description = "The webhook."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "The new secret.", body = NewSecret), WebhookChangeProblems),
)]
pub(crate) async fn rotate_secret(
    State(admin): State<AdminState>,
    call: Call,
    webhook_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (id, request) = (webhook(webhook_id)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let secret = match own.webhooks.rotate.execute(&id, &actor).await {
            Ok(secret) => secret.ok_or(ApiError::WebhookNotFound)?,
            Err(RotateSecretError::Port(error)) => return Err(error.into()),
            Err(error @ RotateSecretError::NoRandomness) => {
                return Err(ApiError::Internal(Arc::new(error)).into());
            }
        };
        let body = NewSecret {
            id: id.as_str().to_owned(),
            secret: secret.reveal().to_owned(),
            previous_secret_until: find(&own, &id).await?.previous_secret_until,
        };
        Ok(Done::new(StatusCode::OK, &body, Some(Action::WebhookSecretRotated)))
    };
    perform(&admin, request, work).await
}

/// Test a webhook
///
/// Sends one event now, and returns what the endpoint answers. It changes nothing: with an Idempotency-Key, too, a repeat sends another.
#[utoipa::path(
    post,
    path = "/webhooks/{webhook_id}/test",
    operation_id = "test_webhook",
    tag = "webhooks",
    params(("webhook_id" = WebhookIdText, Path, description = "The webhook."), OptionalIdempotencyKeyHeader),
    responses((status = 200, description = "What the endpoint has answered.", body = TestBody), WebhookChangeProblems),
)]
pub(crate) async fn test(
    State(admin): State<AdminState>,
    call: Call,
    webhook_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let (id, request) = (webhook(webhook_id)?, call.keyed_without_body()?);
    let own = Arc::clone(&admin);
    let work = async move {
        let event = format!("evt_test_{}", Uuid::now_v7().simple());
        let body = |at: DateTime<Utc>| Bytes::from(test_event(&event, &id, at).to_string());
        let tried = own.webhooks.try_out.execute(&id, event.clone(), body).await?;
        let tried = tried.ok_or(ApiError::WebhookNotFound)?;
        let (status, answer, error) = match tried.answer {
            Ok(answer) => {
                let shown = answer.beginning.chars().take(SHOWN_ANSWER).collect::<String>();
                (Some(answer.status), Some(shown), None)
            }
            Err(NoAnswer(why)) => (None, None, Some(why)),
        };
        let elapsed_ms = u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX);
        let id = id.as_str().to_owned();
        let body = TestBody { id, event_id: event, status, elapsed_ms, answer, error };
        Ok(Done::new(StatusCode::OK, &body, Some(Action::WebhookTested)))
    };
    perform(&admin, request, work).await
}

/// Replay events to a webhook
///
/// Sends the events of a time once more, with the same ids, and tries those again that were given up.
#[utoipa::path(
    post,
    path = "/webhooks/{webhook_id}/replay",
    operation_id = "replay_webhook",
    tag = "webhooks",
    params(("webhook_id" = WebhookIdText, Path, description = "The webhook."), OptionalIdempotencyKeyHeader),
    request_body = ReplayRequest,
    responses((status = 200, description = "The events will be sent.", body = ReplayBody), ReplayProblems),
)]
pub(crate) async fn replay(
    State(admin): State<AdminState>,
    call: Call,
    webhook_id: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = webhook(webhook_id)?;
    let mut errors = ValidationErrors::new();
    let request = call.keyed(&body, &mut errors);
    let (since, until) = read_object(&call.headers, &body, &mut errors, |members| {
        (members.required("since", moment), members.optional("until", moment))
    })?;
    let (Some(since), true) = (since, errors.is_empty()) else {
        return Err(ApiError::Validation(errors).into());
    };
    let (own, actor) = (Arc::clone(&admin), call.operator.name());
    let work = async move {
        let asked = match own.webhooks.replay.execute(&id, since, until, &actor).await {
            Ok(asked) => asked.ok_or(ApiError::WebhookNotFound)?,
            Err(ReplayError::Port(error)) => return Err(error.into()),
            Err(ReplayError::Empty) => {
                return Err(ApiError::invalid("#/until", "must be later than since").into());
            }
        };
        let body = ReplayBody {
            id: id.as_str().to_owned(),
            since: rfc3339(since),
            until: until.map(rfc3339),
            batches: asked.batches,
            put_back: asked.put_back,
        };
        Ok(Done::new(StatusCode::OK, &body, Some(Action::WebhookReplayed)))
    };
    perform(&admin, request, work).await
}

async fn change(
    admin: &AdminState,
    call: Call,
    webhook_id: Result<Path<String>, PathRejection>,
    (change, action): (WebhookChange, Action),
) -> Result<Response, Problem> {
    let (id, request) = (webhook(webhook_id)?, call.keyed_without_body()?);
    let (own, actor) = (Arc::clone(admin), call.operator.name());
    let work = async move {
        if !own.webhooks.store.change(&id, change, &actor).await? {
            return Err(ApiError::WebhookNotFound.into());
        }
        let body = find(&own, &id).await?;
        Ok(Done::new(StatusCode::OK, &body, Some(action)))
    };
    perform(admin, request, work).await
}

async fn find(admin: &Admin, id: &WebhookId) -> Result<WebhookBody, ApiError> {
    let webhooks = admin.read(admin.webhooks.store.list()).await?;
    let found = webhooks.into_iter().find(|webhook| webhook.id == *id);
    found.map(WebhookBody::from).ok_or(ApiError::WebhookNotFound)
}

fn not_added(error: AddWebhookError) -> Problem {
    match error {
        AddWebhookError::Url(why) => ApiError::invalid("#/url", why.to_string()).into(),
        error @ AddWebhookError::TooMany => Problem::detailed(ApiError::ChangeRefused, &error),
        error @ AddWebhookError::NoRandomness => ApiError::Internal(Arc::new(error)).into(),
        AddWebhookError::Port(error) => error.into(),
    }
}

/// A `CloudEvent` that says nothing but that it is a test.
fn test_event(event: &str, id: &WebhookId, at: DateTime<Utc>) -> serde_json::Value {
    json!({
        "specversion": "1.0",
        "id": event,
        "source": "/flash-sale",
        "type": TEST_EVENT,
        "subject": id.as_str(),
        "time": rfc3339(at),
        "datacontenttype": "application/json",
        "data": { "webhook_id": id.as_str() },
    })
}

/// The kinds of an endpoint; all of them if it names none.
fn names(events: &[EventKind]) -> Vec<&'static str> {
    let all = if events.is_empty() { &EventKind::ALL[..] } else { events };
    all.iter().map(|kind| kind.short_name()).collect()
}

fn event_kind(text: &str) -> Result<EventKind, String> {
    let known = EventKind::ALL.map(EventKind::short_name).join(", ");
    EventKind::parse(text).ok_or_else(|| format!("must be one of {known}"))
}

fn webhook(webhook_id: Result<Path<String>, PathRejection>) -> Result<WebhookId, ApiError> {
    let parse = |text: &str| {
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_id = text.len() <= 64 && text.starts_with("wh_") && text.bytes().all(is_digit);
        is_id.then(|| WebhookId::new(text))
    };
    segment(webhook_id, parse, ApiError::WebhookNotFound)
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn the_document_names_every_kind_of_events() {
        let named = serde_json::to_value(EventName::schema()).unwrap()["enum"].clone();

        let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.short_name()).collect();
        assert_eq!(named, serde_json::json!(kinds));
    }
}
