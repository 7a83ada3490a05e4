//! `flash-sale retention run`.

use std::time::Duration;

use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::actor::actor;
use super::failure::{COULD_NOT, Failure};
use super::output::{self, Format};
use crate::app::Offline;
use crate::application::drop_sales::DroppedSales;
use crate::application::ports::{ExpiredSale, KeptBecause, Partition, PortError};
use crate::application::sale_cache::FRESH_FOR;
use crate::config::Config;
use crate::domain::time_text::length;

/// Instances answer from what they read of a sale for [`FRESH_FOR`], from the begin of a read that takes up to this time.
const READ_MARGIN: Duration = Duration::from_millis(250);

#[derive(Debug, Subcommand)]
pub(super) enum RetentionCommand {
    /// Archives the sales that ended longer ago than `retention.keep`, and drops the tables that only they used.
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Shows what would be archived and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(
    RetentionCommand::Run(args): &RetentionCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let done =
        if args.dry_run { offline.drop_sales.preview().await } else { drop_sales(&offline).await };
    offline.close().await;
    let done = done.map_err(|error| Failure::because(COULD_NOT, &error))?;
    if !args.dry_run && !done.archived.is_empty() {
        tokio::time::sleep(FRESH_FOR + READ_MARGIN).await;
    }
    match format {
        Format::Json => output::json(&document(args.dry_run, config, &done)),
        Format::Table => output::table(&["what", "which", "why"], &rows(&done)),
    }
}

/// Where no process runs jobs, nothing else closes sales and puts their events in order.
async fn drop_sales(offline: &Offline) -> Result<DroppedSales, PortError> {
    offline.close_sale.execute().await?;
    offline.outbox.order().await?;
    offline.drop_sales.execute(&actor()).await
}

fn document(is_dry_run: bool, config: &Config, done: &DroppedSales) -> Value {
    let keep = config.retention.keep.map(length);
    json!({
        "dry_run": is_dry_run,
        "keep": keep,
        "archived": done.archived.iter().map(sale).collect::<Vec<_>>(),
        "kept": done.kept.iter().map(sale).collect::<Vec<_>>(),
        "dropped": done.dropped.iter().map(partition).collect::<Vec<_>>(),
        "in_use": done.in_use.iter().map(partition).collect::<Vec<_>>(),
    })
}

fn sale(expired: &ExpiredSale) -> Value {
    let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let mut sale = json!({
        "sale_id": expired.sale.to_string(),
        "name": expired.name,
        "starts_at": time(expired.window.starts_at()),
        "ends_at": time(expired.window.ends_at()),
    });
    if let Some(why) = expired.kept {
        sale["why"] = why.as_str().into();
    }
    sale
}

fn partition(partition: &Partition) -> Value {
    json!({ "first": partition.first, "last": partition.last })
}

fn rows(done: &DroppedSales) -> Vec<Value> {
    let sale = |what: &str, expired: &ExpiredSale| {
        let which = format!("{} {}", expired.sale, expired.name);
        json!({ "what": what, "which": which, "why": expired.kept.map(KeptBecause::as_str) })
    };
    let tables = |what: &str, partition: &Partition| json!({ "what": what, "which": format!("tables of S-{} to S-{}", partition.first, partition.last) });
    let archived = done.archived.iter().map(|one| sale("archived", one));
    let kept = done.kept.iter().map(|one| sale("kept", one));
    let dropped = done.dropped.iter().map(|one| tables("dropped", one));
    let in_use = done.in_use.iter().map(|one| tables("in use", one));
    archived.chain(kept).chain(dropped).chain(in_use).collect()
}
