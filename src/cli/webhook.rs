//! `flash-sale webhook …`: endpoints of other systems that receive events.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::actor::actor;
use super::failure::{BAD_ARGUMENTS, FAILED, Failure};
use super::output::{self, Format};
use crate::app::Offline;
use crate::application::ports::{
    DeadDelivery, EventKind, NoAnswer, PortError, Webhook, WebhookChange, WebhookId,
};
use crate::application::webhooks::add::AddWebhookError;
use crate::application::webhooks::replay::ReplayError;
use crate::config::Config;
use crate::domain::time_text::parse_moment;

/// The exit code when nothing could be done: bad arguments, or no connection.
const COULD_NOT: u8 = BAD_ARGUMENTS;
/// Events that were given up and are shown.
const SHOWN_DEAD: u32 = 100;
/// Characters of an answer that are shown.
const SHOWN_ANSWER: usize = 500;
/// The type of the event that `webhook test` sends.
const TEST_EVENT: &str = "flash_sale.webhook.test.v1";

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Adds an endpoint, which receives what happens from now on, and prints its secret once.
    Add(AddArgs),
    /// Lists the endpoints, oldest first.
    List,
    /// Shows an endpoint, and the events whose delivery was given up.
    Show(IdArgs),
    /// Pauses an endpoint: nothing is sent to it until it is resumed.
    Pause(IdArgs),
    /// Resumes a paused or disabled endpoint, from the event at which it stopped.
    Resume(IdArgs),
    /// Removes an endpoint, and the events that wait for it.
    Remove(IdArgs),
    /// Makes a new secret and prints it once; for 24 hours the previous secret signs as well.
    RotateSecret(IdArgs),
    /// Sends one event now and shows the answer: exit 0 if it was accepted, 1 if not.
    Test(IdArgs),
    /// Sends the events of a period once more, with the same ids, and retries those that were given up.
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Where events are sent: an HTTPS address.
    url: String,
    /// The kinds of events, comma-separated; by default all.
    #[arg(long, value_delimiter = ',', value_name = "KIND", value_parser = parse_kind)]
    events: Vec<EventKind>,
}

#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// The id, as `flash-sale webhook list` shows it.
    #[arg(value_parser = parse_id)]
    id: WebhookId,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The id, as `flash-sale webhook list` shows it.
    #[arg(value_parser = parse_id)]
    id: WebhookId,
    /// Events that were written at this time or later, such as 2026-11-20T16:00:00Z.
    #[arg(long, value_name = "RFC3339", value_parser = parse_moment)]
    since: DateTime<Utc>,
    /// And before this time; by default until now.
    #[arg(long, value_name = "RFC3339", value_parser = parse_moment)]
    until: Option<DateTime<Utc>>,
}

fn parse_kind(text: &str) -> Result<EventKind, String> {
    let known = EventKind::ALL.map(EventKind::short_name).join(", ");
    EventKind::parse(text).ok_or_else(|| format!("must be one of {known}"))
}

fn parse_id(text: &str) -> Result<WebhookId, String> {
    let is_id =
        text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_id && text.starts_with("wh_") {
        Ok(WebhookId::new(text))
    } else {
        Err("must be an id that `flash-sale webhook list` shows".to_owned())
    }
}

pub(super) async fn run(
    command: WebhookCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let result = match command {
        WebhookCommand::Add(args) => add(args, &offline, format).await,
        WebhookCommand::List => list(&offline, format).await,
        WebhookCommand::Show(args) => show(&args.id, &offline, format).await,
        WebhookCommand::Pause(args) => {
            change(&args.id, WebhookChange::Pause, &offline, format).await
        }
        WebhookCommand::Resume(args) => {
            change(&args.id, WebhookChange::Resume, &offline, format).await
        }
        WebhookCommand::Remove(args) => remove(&args.id, &offline, format).await,
        WebhookCommand::RotateSecret(args) => rotate(&args.id, &offline, format).await,
        WebhookCommand::Test(args) => try_out(&args.id, &offline, format).await,
        WebhookCommand::Replay(args) => replay(&args, &offline, format).await,
    };
    offline.close().await;
    result
}

async fn add(args: AddArgs, offline: &Offline, format: Format) -> Result<(), Failure> {
    let added = offline.webhooks.add.execute(&args.url, args.events, &actor()).await;
    let added = added.map_err(|error| match error {
        AddWebhookError::TooMany => Failure::because(FAILED, &error),
        AddWebhookError::Url(_) | AddWebhookError::NoRandomness | AddWebhookError::Port(_) => {
            Failure::because(COULD_NOT, &error)
        }
    })?;
    let row = json!({
        "id": added.id.as_str(),
        "url": added.url,
        "events": names(&added.events),
        "state": "active",
        "secret": added.secret.reveal(),
    });
    print(format, &["id", "url", "events", "secret"], row)
}

async fn list(offline: &Offline, format: Format) -> Result<(), Failure> {
    let listed = offline.webhooks.store.list().await.map_err(failed)?;
    let rows: Vec<_> = listed.iter().map(row).collect();
    match format {
        Format::Json => output::json(&json!({ "data": rows, "next_cursor": null })),
        Format::Table => {
            output::table(&["id", "url", "events", "state", "failures", "retrying", "dead"], &rows)
        }
    }
}

async fn show(id: &WebhookId, offline: &Offline, format: Format) -> Result<(), Failure> {
    let found = find(id, offline).await?;
    let dead = offline.webhooks.store.dead(id, SHOWN_DEAD).await.map_err(failed)?;
    let letters: Vec<_> = dead.iter().map(dead_row).collect();
    let mut shown = row(&found);
    match format {
        Format::Json => {
            shown["dead_letters"] = Value::Array(letters);
            output::json(&shown)
        }
        Format::Table => {
            let columns =
                ["id", "url", "events", "state", "reason", "failures", "retrying", "dead"];
            output::table(&columns, &[shown])?;
            if letters.is_empty() {
                return Ok(());
            }
            let columns =
                ["event_id", "type", "written_at", "attempts", "last_status", "last_error"];
            output::table(&columns, &letters)
        }
    }
}

async fn change(
    id: &WebhookId,
    change: WebhookChange,
    offline: &Offline,
    format: Format,
) -> Result<(), Failure> {
    if !offline.webhooks.store.change(id, change, &actor()).await.map_err(failed)? {
        return Err(unknown(id));
    }
    let row = row(&find(id, offline).await?);
    print(format, &["id", "url", "state", "reason"], row)
}

async fn remove(id: &WebhookId, offline: &Offline, format: Format) -> Result<(), Failure> {
    let removed = offline.webhooks.store.change(id, WebhookChange::Remove, &actor()).await;
    if !removed.map_err(failed)? {
        return Err(unknown(id));
    }
    print(format, &["id", "removed"], json!({ "id": id.as_str(), "removed": true }))
}

async fn rotate(id: &WebhookId, offline: &Offline, format: Format) -> Result<(), Failure> {
    let rotated = offline.webhooks.rotate.execute(id, &actor()).await;
    let secret = rotated.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let secret = secret.ok_or_else(|| unknown(id))?;
    let until = find(id, offline).await?.previous_secret_until;
    let row = json!({
        "id": id.as_str(),
        "secret": secret.reveal(),
        "previous_secret_until": until.map(text),
    });
    print(format, &["id", "secret", "previous_secret_until"], row)
}

async fn try_out(id: &WebhookId, offline: &Offline, format: Format) -> Result<(), Failure> {
    let event = format!("evt_test_{}", Uuid::now_v7().simple());
    let body = |at: DateTime<Utc>| Bytes::from(test_event(&event, id, at).to_string());
    let tried = offline.webhooks.try_out.execute(id, event.clone(), body).await.map_err(failed)?;
    let tried = tried.ok_or_else(|| unknown(id))?;
    let (status, answer, error) = match &tried.answer {
        Ok(answer) => (
            Some(answer.status),
            Some(answer.beginning.chars().take(SHOWN_ANSWER).collect::<String>()),
            None,
        ),
        Err(NoAnswer(why)) => (None, None, Some(why.clone())),
    };
    let row = json!({
        "id": id.as_str(),
        "event_id": event,
        "status": status,
        "elapsed_ms": u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX),
        "answer": answer,
        "error": error,
    });
    print(format, &["id", "status", "elapsed_ms", "answer", "error"], row)?;
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => {
            let message =
                format!("the endpoint answered {status}: only 200 to 299 accept an event");
            Err(Failure::new(FAILED, message))
        }
        None => Err(Failure::new(FAILED, "the endpoint did not answer")),
    }
}

async fn replay(args: &ReplayArgs, offline: &Offline, format: Format) -> Result<(), Failure> {
    let replay = &offline.webhooks.replay;
    let asked = replay.execute(&args.id, args.since, args.until, &actor()).await;
    let asked = asked.map_err(|error| match error {
        ReplayError::Empty | ReplayError::Port(_) => Failure::because(COULD_NOT, &error),
    })?;
    let asked = asked.ok_or_else(|| unknown(&args.id))?;
    let row = json!({
        "id": args.id.as_str(),
        "since": text(args.since),
        "until": args.until.map(text),
        "batches": asked.batches,
        "put_back": asked.put_back,
    });
    print(format, &["id", "since", "until", "batches", "put_back"], row)
}

/// A `CloudEvent` that says nothing but that it is a test.
fn test_event(event: &str, id: &WebhookId, at: DateTime<Utc>) -> Value {
    json!({
        "specversion": "1.0",
        "id": event,
        "source": "/flash-sale",
        "type": TEST_EVENT,
        "subject": id.as_str(),
        "time": text(at),
        "datacontenttype": "application/json",
        "data": { "webhook_id": id.as_str() },
    })
}

async fn find(id: &WebhookId, offline: &Offline) -> Result<Webhook, Failure> {
    let listed = offline.webhooks.store.list().await.map_err(failed)?;
    listed.into_iter().find(|webhook| webhook.id == *id).ok_or_else(|| unknown(id))
}

fn print(format: Format, columns: &[&str], row: Value) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(&row),
        Format::Table => output::table(columns, &[row]),
    }
}

fn row(webhook: &Webhook) -> Value {
    json!({
        "id": webhook.id.as_str(),
        "url": webhook.url,
        "events": names(&webhook.events),
        "state": webhook.state.as_str(),
        "reason": webhook.reason,
        "state_since": text(webhook.state_since),
        "position": webhook.position,
        "failures": webhook.failures,
        "failing_since": webhook.failing_since.map(text),
        "next_try_at": webhook.next_try_at.map(text),
        "retrying": webhook.retrying,
        "dead": webhook.dead,
        "replays": webhook.replays,
        "previous_secret_until": webhook.previous_secret_until.map(text),
        "created_at": text(webhook.created_at),
    })
}

fn dead_row(dead: &DeadDelivery) -> Value {
    json!({
        "event_id": dead.event_id,
        "type": dead.kind.type_name(),
        "written_at": text(dead.written_at),
        "attempts": dead.attempts,
        "last_status": dead.last_status,
        "last_error": dead.last_error,
    })
}

/// The kinds of an endpoint; all of them if it names none.
fn names(events: &[EventKind]) -> Vec<&'static str> {
    let all = if events.is_empty() { &EventKind::ALL[..] } else { events };
    all.iter().map(|kind| kind.short_name()).collect()
}

fn unknown(id: &WebhookId) -> Failure {
    Failure::new(FAILED, format!("there is no webhook {id}: `flash-sale webhook list` shows all"))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn failed(error: PortError) -> Failure {
    Failure::because(COULD_NOT, &error)
}

fn text(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
