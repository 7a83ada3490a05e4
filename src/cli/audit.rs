//! `flash-sale audit list`.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::{BAD_ARGUMENTS, Failure};
use super::ids::parse_sale;
use super::output::{self, Format};
use crate::app::Offline;
use crate::application::ports::{AuditEntry, AuditFilter, AuditKey, Cursor};
use crate::config::Config;
use crate::domain::ids::SaleId;
use crate::domain::time_text::parse_moment;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Lists what operators have changed, newest first.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only changes from this moment on, such as 2026-11-20T16:00:00Z.
    #[arg(long, value_name = "RFC3339", value_parser = parse_moment)]
    since: Option<DateTime<Utc>>,
    /// Only changes of this sale.
    #[arg(long, value_name = "S-…", value_parser = parse_sale)]
    sale: Option<SaleId>,
    /// Maximum number of changes to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Continues a list: its `next_cursor`.
    #[arg(long, value_parser = parse_cursor)]
    cursor: Option<AuditKey>,
}

pub(super) async fn run(
    AuditCommand::List(args): &AuditCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::because(BAD_ARGUMENTS, error);
    let offline = Offline::connect(config).await.map_err(|error| failed(&error))?;
    let wanted = AuditFilter { since: args.since, sale: args.sale };
    let page = offline.audit.list(wanted, Cursor { entry: args.cursor, limit: args.limit }).await;
    offline.close().await;
    let page = page.map_err(|error| failed(&error))?;
    let rows: Vec<Value> = page.entries.iter().map(row).collect();
    match format {
        Format::Json => {
            output::json(&json!({ "data": rows, "next_cursor": page.next.map(cursor) }))
        }
        Format::Table => output::table(
            &["at", "actor", "action", "sale_id", "subject", "before", "after"],
            &rows,
        ),
    }
}

fn row(entry: &AuditEntry) -> Value {
    let state = |text: &Option<String>| -> Value {
        text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    json!({
        "id": entry.id,
        "at": entry.at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        "actor": entry.actor,
        "action": entry.action,
        "sale_id": entry.sale.map(|sale| sale.to_string()),
        "subject": entry.subject,
        "before": state(&entry.before),
        "after": state(&entry.after),
    })
}

fn cursor(key: AuditKey) -> String {
    format!("{}-{}", key.at.timestamp_micros(), key.id)
}

fn parse_cursor(text: &str) -> Result<AuditKey, &'static str> {
    let key = || {
        let (at, id) = text.split_once('-')?;
        let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
        Some(AuditKey { at, id: id.parse().ok()? })
    };
    key().ok_or("a cursor is the next_cursor of a list")
}
