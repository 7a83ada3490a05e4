//! `flash-sale sale create`, `flash-sale sale list`; in `report.rs` `flash-sale sale report`, and in `edit.rs` and `import.rs` what changes
//! a sale.

mod edit;
mod import;
mod report;

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::actor::actor;
use super::failure::{BAD_ARGUMENTS, COULD_NOT, FAILED, Failure};
use super::output::{self, Format, Output};
use super::time::{database_now, parse_length, text, until_instances_know};
use crate::app::Offline;
use crate::application::create_sale::CreateSaleError;
use crate::application::ports::{Calendar, Cursor, PortError, SaleFilter};
use crate::config::Config;
use crate::domain::sale::{
    MAX_BUYER_LIMIT, MAX_ITEMS, MAX_STOCK, NewSale, Sale, SaleState, SaleWindow,
};
use crate::domain::time_text::parse_moment;
use crate::infrastructure::schedule::CronCalendar;

#[derive(Debug, Subcommand)]
pub(super) enum SaleCommand {
    /// Creates a sale with the items "1" to "N" and prints it; running instances know it when the command returns.
    Create(CreateArgs),
    /// Lists sales, newest first.
    List(ListArgs),
    /// Changes the name, the window or the buyer limit of a sale.
    Change(edit::ChangeArgs),
    /// Ends an open sale a second from now; returns when no instance sells any more.
    End(edit::SaleArgs),
    /// Takes back a sale that has not started: it never opens. Nothing is deleted.
    Cancel(edit::SaleArgs),
    /// Adds pieces to an item, or takes some of those that are left; returns when all instances sell them.
    Restock(edit::RestockArgs),
    /// Imports items with their own ids from CSV or JSON lines, into a new sale or one that has not started.
    Import(import::ImportArgs),
    /// Reports what a sale has sold, how fast, and what it refused; with `--output svg` as a picture.
    Report(report::ReportArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Number of items.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=i64::from(MAX_ITEMS)))]
    items: i32,
    /// Number of pieces of each item.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=i64::from(MAX_STOCK)))]
    stock: i32,
    /// Maximum number of pieces per buyer.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=i64::from(MAX_BUYER_LIMIT)))]
    buyer_limit: i32,
    /// Time until the start, by the database's clock, such as 0s or 10m.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    starts_in: Duration,
    /// Start of the sale, such as 2026-11-20T16:00:00Z.
    #[arg(long, conflicts_with = "starts_in", value_name = "RFC3339", value_parser = parse_moment)]
    starts_at: Option<DateTime<Utc>>,
    /// Length of the sale.
    #[arg(long, default_value = "1h", value_parser = parse_length)]
    duration: Duration,
    /// Display name of the sale.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Maximum number of sales to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

pub(super) async fn run(
    command: SaleCommand,
    config: &Config,
    output: Output,
) -> Result<(), Failure> {
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let result = match command {
        SaleCommand::Create(args) => create(args, config, &offline, output.of_data()?).await,
        SaleCommand::List(args) => list(&args, &offline, output.of_data()?).await,
        SaleCommand::Change(args) => edit::change(args, config, &offline, output.of_data()?).await,
        SaleCommand::End(args) => edit::end(&args, config, &offline, output.of_data()?).await,
        SaleCommand::Cancel(args) => edit::cancel(&args, config, &offline, output.of_data()?).await,
        SaleCommand::Restock(args) => {
            edit::restock(args, config, &offline, output.of_data()?).await
        }
        SaleCommand::Import(args) => {
            import::import(args, config, &offline, output.of_data()?).await
        }
        SaleCommand::Report(args) => report::run(&args, &offline, output).await,
    };
    offline.close().await;
    result
}

async fn create(
    args: CreateArgs,
    config: &Config,
    offline: &Offline,
    format: Format,
) -> Result<(), Failure> {
    let now = database_now(offline).await?;
    let starts_at = match args.starts_at {
        Some(starts_at) => starts_at,
        None => chrono::Duration::from_std(args.starts_in)
            .ok()
            .and_then(|ahead| now.checked_add_signed(ahead))
            .ok_or_else(|| Failure::new(BAD_ARGUMENTS, "--starts-in is too far away"))?,
    };
    let window = SaleWindow::lasting(starts_at, args.duration).ok_or_else(|| {
        Failure::new(BAD_ARGUMENTS, "--duration must be more than 0s and end before the year 10000")
    })?;
    if window.state_at(now) == SaleState::Ended {
        return Err(Failure::new(
            BAD_ARGUMENTS,
            "this sale would have ended already: choose a later --starts-at or a longer --duration",
        ));
    }
    let name = args.name.unwrap_or_else(|| {
        format!("Flash sale of {}", CronCalendar::new(&config.schedule).shown(starts_at))
    });
    let sale = NewSale {
        name,
        scheduled: false,
        window,
        buyer_limit: args.buyer_limit,
        items: args.items,
        stock: args.stock,
    };
    let created = match offline.create_sale.execute(sale, &actor()).await {
        Ok(Some(created)) => created,
        Ok(None) => {
            return Err(Failure::new(FAILED, "a sale with this start exists already"));
        }
        Err(CreateSaleError::Invalid(fault)) => {
            return Err(Failure::because(BAD_ARGUMENTS, &fault));
        }
        Err(CreateSaleError::Port(error)) => return Err(Failure::of_port(&error)),
    };
    until_instances_know(config).await;
    let row = json!({
        "sale_id": created.id.to_string(),
        "name": created.name,
        "starts_at": text(created.window.starts_at()),
        "ends_at": text(created.window.ends_at()),
        "items": created.items,
        "stock": args.stock,
        "buyer_limit": created.buyer_limit,
    });
    match format {
        Format::Json => output::json(&row),
        Format::Table => output::table(
            &["sale_id", "name", "starts_at", "ends_at", "items", "stock", "buyer_limit"],
            &[row],
        ),
    }
}

async fn list(args: &ListArgs, offline: &Offline, format: Format) -> Result<(), Failure> {
    let failed = |error: PortError| Failure::because(COULD_NOT, &error);
    let now = database_now(offline).await?;
    let mut rows = Vec::new();
    let newest = offline.sales.list(SaleFilter::default(), Cursor::beginning(args.limit));
    for sale in newest.await.map_err(failed)?.entries {
        for (_, progress) in offline.items.progress(&[sale.id]).await.map_err(failed)? {
            rows.push(row(&sale, now, progress.sold, progress.remaining));
        }
    }
    match format {
        Format::Json => output::json(&Value::Array(rows)),
        Format::Table => output::table(
            &["sale_id", "name", "state", "starts_at", "ends_at", "items", "sold", "remaining"],
            &rows,
        ),
    }
}

fn row(sale: &Sale, now: DateTime<Utc>, sold: i64, remaining: i64) -> Value {
    json!({
        "sale_id": sale.id.to_string(),
        "name": sale.name,
        "state": sale.window.state_at(now).as_str(),
        "scheduled": sale.scheduled,
        "starts_at": text(sale.window.starts_at()),
        "ends_at": text(sale.window.ends_at()),
        "buyer_limit": sale.buyer_limit,
        "items": sale.items,
        "sold": sold,
        "remaining": remaining,
    })
}
