//! `flash-sale key`: API keys of operators and services.

use std::time::Duration;

use chrono::DateTime;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::actor::actor;
use super::failure::{COULD_NOT, FAILED, Failure};
use super::output::{self, Format};
use crate::app::Offline;
use crate::application::api_keys::NEW_KEY_SETTLES_IN;
use crate::application::api_keys::issue::IssueKeyError;
use crate::application::ports::{ApiKey, Cursor, KeyExpiry, KeyPosition, PortError};
use crate::config::Config;
use crate::domain::api_key::{KeyId, KeyName, Scope, Scopes};
use crate::domain::time_text::rfc3339;

/// The columns of a table of keys.
const COLUMNS: [&str; 7] =
    ["id", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at"];
/// A longer life is for ever.
const LONGEST_LIFE: Duration = Duration::from_hours(24 * 36_500);

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Creates a key and prints it, this once.
    Create(CreateArgs),
    /// Lists keys, newest first, without their secrets.
    List(ListArgs),
    /// Revokes a key for good: within a second all instances refuse it.
    Revoke {
        /// The id, as `flash-sale key list` shows it.
        #[arg(value_parser = parse_id)]
        id: KeyId,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Its name, which the audit has for everything that is changed with it.
    #[arg(value_parser = KeyName::parse)]
    name: KeyName,
    /// What it may do, comma-separated: read, sell, operate.
    #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPES", value_parser = parse_scope)]
    scopes: Vec<Scope>,
    /// It ends after this time, such as 90d; by default never.
    #[arg(long, value_name = "DURATION", value_parser = parse_life)]
    expires_in: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Maximum number of keys to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Where the list goes on: `next_cursor` of the page before.
    #[arg(long, value_parser = parse_cursor)]
    cursor: Option<KeyPosition>,
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.map(Scope::as_str).join(", ");
    Scope::parse(text).ok_or_else(|| format!("must be one of {known}"))
}

fn parse_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text).ok_or("must be an id that `flash-sale key list` shows, such as key_…")
}

fn parse_life(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than 0s".to_owned()),
        Ok(life) if life > LONGEST_LIFE => Err("must be at most 36500days".to_owned()),
        Ok(life) => Ok(life),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_cursor(text: &str) -> Result<KeyPosition, &'static str> {
    let position = || {
        let (micros, id) = text.split_once('-')?;
        let created_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        Some(KeyPosition { created_at, id: KeyId::parse(id)? })
    };
    position().ok_or("a cursor is the next_cursor of a list")
}

pub(super) async fn run(
    command: KeyCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    if matches!(command, KeyCommand::Create(_)) && config.api_keys.secret.is_none() {
        let text = "auth.api_keys.secret is not set: make one with `openssl rand -base64 32`, and give it to every instance";
        return Err(Failure::new(COULD_NOT, text));
    }
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let result = match command {
        KeyCommand::Create(args) => create(args, &offline, format).await,
        KeyCommand::List(args) => list(args, &offline, format).await,
        KeyCommand::Revoke { id } => revoke(id, &offline, format).await,
    };
    offline.close().await;
    result
}

async fn create(args: CreateArgs, offline: &Offline, format: Format) -> Result<(), Failure> {
    let scopes = Scopes::new(args.scopes)
        .ok_or_else(|| Failure::new(COULD_NOT, "--scopes must name at least one scope"))?;
    let expiry = args.expires_in.map_or(KeyExpiry::Never, KeyExpiry::After);
    let issued = offline.issue_key.execute((args.name, scopes), expiry, &actor()).await;
    let (key, text) = issued.map_err(|error| match error {
        IssueKeyError::Refused(_) => Failure::because(FAILED, &error),
        IssueKeyError::NoRandomness | IssueKeyError::Port(_) => Failure::because(COULD_NOT, &error),
    })?;
    // It may be used when the command returns.
    tokio::time::sleep(NEW_KEY_SETTLES_IN).await;
    let mut row = row(&key);
    row["key"] = text.reveal().into();
    output::one(format, &["id", "name", "scopes", "expires_at", "key"], &row)
}

async fn list(args: ListArgs, offline: &Offline, format: Format) -> Result<(), Failure> {
    let page = offline.keys.list(Cursor { entry: args.cursor, limit: args.limit }).await;
    let page = page.map_err(could_not)?;
    let next = page.next.map(|last| format!("{}-{}", last.created_at.timestamp_micros(), last.id));
    let rows: Vec<Value> = page.entries.iter().map(row).collect();
    output::page(format, &COLUMNS, &rows, next)
}

async fn revoke(id: KeyId, offline: &Offline, format: Format) -> Result<(), Failure> {
    let revoked = offline.keys.revoke(id, &actor()).await.map_err(could_not)?;
    let revoked = revoked.ok_or_else(|| {
        Failure::new(FAILED, format!("there is no key {id}: `flash-sale key list` shows all"))
    })?;
    let mut row = row(&revoked.key);
    row["changed"] = revoked.is_changed.into();
    output::one(format, &COLUMNS, &row)
}

#[expect(clippy::needless_pass_by_value, reason = "it is called by `map_err`")]
fn could_not(error: PortError) -> Failure {
    Failure::because(COULD_NOT, &error)
}

/// A key, as it is printed.
fn row(key: &ApiKey) -> Value {
    json!({
        "id": key.id.to_string(),
        "name": key.name.as_str(),
        "scopes": key.scopes.names(),
        "created_by": key.created_by,
        "created_at": rfc3339(key.created_at),
        "expires_at": key.expires_at.map(rfc3339),
        "revoked_at": key.revoked_at.map(rfc3339),
        "last_used_at": key.last_used_at.map(rfc3339),
    })
}
