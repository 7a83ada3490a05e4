//! `flash-sale sale import`.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::app::Offline;
use crate::application::operators::import_items::{ImportError, ImportReport};
use crate::application::ports::{Calendar, ImportTarget, ImportedSale, ItemSource};
use crate::cli::actor::actor;
use crate::cli::failure::{BAD_ARGUMENTS, FAILED, Failure};
use crate::cli::ids::parse_sale;
use crate::cli::output::{self, Format};
use crate::cli::time::{database_now, parse_length, until_instances_know};
use crate::config::Config;
use crate::domain::ids::SaleId;
use crate::domain::import::Rejected;
use crate::domain::sale::{MAX_BUYER_LIMIT, SaleState, SaleWindow, is_sale_name};
use crate::domain::time_text::parse_moment;
use crate::infrastructure::imports::{CsvItems, JsonLines};
use crate::infrastructure::schedule::CronCalendar;

/// Options of a new sale, which exclude `--sale`.
const OF_NEW: [&str; 4] = ["starts_at", "name", "duration", "buyer_limit"];
const AN_HOUR: Duration = Duration::from_hours(1);
const BUYER_LIMIT: i32 = 10;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input.
    #[arg(value_name = "FILE|-")]
    file: String,
    /// A sale that has not started: the items are added to its own.
    #[arg(long, value_name = "S-…", value_parser = parse_sale, required_unless_present = "starts_at", conflicts_with_all = OF_NEW)]
    sale: Option<SaleId>,
    /// Start of a new sale with these items, such as 2026-11-20T16:00:00Z.
    #[arg(long, value_name = "RFC3339", value_parser = parse_moment)]
    starts_at: Option<DateTime<Utc>>,
    /// Display name of the new sale.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Length of the new sale; 1h by default.
    #[arg(long, value_parser = parse_length)]
    duration: Option<Duration>,
    /// Maximum number of pieces per buyer of the new sale; 10 by default.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=i64::from(MAX_BUYER_LIMIT)))]
    buyer_limit: Option<i32>,
    /// Imports the good rows, instead of nothing, if there are bad ones.
    #[arg(long)]
    partial: bool,
    /// Format of the file; by default that of its name: .csv, .jsonl or .ndjson.
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
}

/// The format of a file of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// Comma-separated, with a header.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

pub(super) async fn import(
    args: ImportArgs,
    config: &Config,
    offline: &Offline,
    output: Format,
) -> Result<(), Failure> {
    let target = target(&args, config, database_now(offline).await?)?;
    let (source, bar) = open(&args)?;
    let imported = offline.import_items.execute(&target, source, args.partial, &actor()).await;
    bar.finish_and_clear();
    let report = match imported {
        Ok(report) => report,
        Err(error @ ImportError::Refused(_)) => return Err(Failure::because(FAILED, &error)),
        Err(error @ ImportError::Port(_)) => return Err(Failure::because(BAD_ARGUMENTS, &error)),
    };
    if report.imported.is_some() {
        until_instances_know(config).await;
    }
    print(&report, output)?;
    match report.imported {
        Some(_) => Ok(()),
        None => Err(Failure::new(
            FAILED,
            format!("nothing was imported: {} faults in the file", report.rejected.len()),
        )),
    }
}

fn target(args: &ImportArgs, config: &Config, now: DateTime<Utc>) -> Result<ImportTarget, Failure> {
    let bad = |text: &str| Failure::new(BAD_ARGUMENTS, text);
    let starts_at = match (args.sale, args.starts_at) {
        (Some(sale), _) => return Ok(ImportTarget::Sale(sale)),
        (None, Some(starts_at)) => starts_at,
        (None, None) => return Err(bad("give --sale, or --starts-at for a new sale")),
    };
    let window = SaleWindow::lasting(starts_at, args.duration.unwrap_or(AN_HOUR))
        .ok_or_else(|| bad("the sale must end before the year 10000"))?;
    if window.state_at(now) == SaleState::Ended {
        return Err(bad("this sale would have ended already: choose a later --starts-at"));
    }
    let shown =
        || format!("Flash sale of {}", CronCalendar::new(&config.schedule).shown(starts_at));
    let name = args.name.clone().unwrap_or_else(shown);
    if !is_sale_name(&name) {
        return Err(bad("--name must have 1 to 200 characters and no control characters"));
    }
    let buyer_limit = args.buyer_limit.unwrap_or(BUYER_LIMIT);
    Ok(ImportTarget::New(ImportedSale { name, window, buyer_limit }))
}

/// Opens the file. The bar shows how much of it was read, on a terminal only.
fn open(args: &ImportArgs) -> Result<(Box<dyn ItemSource>, ProgressBar), Failure> {
    let named = |ending: &str| args.file.to_lowercase().ends_with(ending);
    let format = match args.format {
        Some(format) => format,
        None if named(".csv") => FileFormat::Csv,
        None if named(".jsonl") || named(".ndjson") => FileFormat::Jsonl,
        None => {
            let text = "the name does not end in .csv, .jsonl or .ndjson: give --format";
            return Err(Failure::new(BAD_ARGUMENTS, text));
        }
    };
    let cannot = |error: io::Error| {
        Failure::new(BAD_ARGUMENTS, format!("cannot read {}: {error}", args.file))
    };
    let (input, length): (Box<dyn Read + Send>, _) = if args.file == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(&args.file).map_err(cannot)?;
        let length = file.metadata().map_err(cannot)?.len();
        (Box::new(file), Some(length))
    };
    let bar = match length {
        Some(length) => ProgressBar::new(length)
            .with_style(style("{bar:40} {percent}% of {total_bytes}, {eta}")?),
        None => ProgressBar::no_length().with_style(style("{spinner} {bytes}, {bytes_per_sec}")?),
    };
    let input: Box<dyn Read + Send> = Box::new(bar.wrap_read(input));
    Ok(match format {
        FileFormat::Csv => (Box::new(CsvItems::new(input)), bar),
        FileFormat::Jsonl => (Box::new(JsonLines::new(input)), bar),
    })
}

fn style(template: &str) -> Result<ProgressStyle, Failure> {
    ProgressStyle::with_template(template).map_err(|error| Failure::because(BAD_ARGUMENTS, &error))
}

fn print(report: &ImportReport, format: Format) -> Result<(), Failure> {
    let sale = report.imported.map(|imported| imported.sale.to_string());
    let imported = report.imported.map_or(0, |imported| imported.items);
    let rejected: Vec<Value> = report.rejected.iter().map(row).collect();
    match format {
        Format::Json => {
            output::json(&json!({ "sale_id": sale, "imported": imported, "rejected": rejected }))
        }
        Format::Table => {
            output::table(
                &["sale_id", "imported"],
                &[json!({ "sale_id": sale, "imported": imported })],
            )?;
            if rejected.is_empty() {
                return Ok(());
            }
            output::table(&["line", "field", "why"], &rejected)
        }
    }
}

fn row(fault: &Rejected) -> Value {
    json!({ "line": fault.line, "field": fault.field, "why": fault.why })
}
