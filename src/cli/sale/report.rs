//! `flash-sale sale report`.

use clap::Args;
use serde_json::{Value, json};

use crate::app::Offline;
use crate::application::sale_report::ReportError;
use crate::cli::failure::{FAILED, Failure};
use crate::cli::ids::parse_sale;
use crate::cli::output::{self, Output};
use crate::domain::ids::SaleId;
use crate::domain::number_text::{span, thousands};
use crate::domain::sale_report::{Interval, SaleReport};
use crate::infrastructure::chart::sale_picture;
use crate::infrastructure::persistence::report_document;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The sale.
    #[arg(value_name = "S-…", value_parser = parse_sale)]
    sale: SaleId,
}

pub(super) async fn run(
    args: &ReportArgs,
    offline: &Offline,
    output: Output,
) -> Result<(), Failure> {
    let report = offline.report_sale.execute(args.sale).await;
    let report = report.map_err(|error| match &error {
        ReportError::UnknownSale(_) => Failure::because(FAILED, &error),
        ReportError::Port(port) => Failure::of_port(port),
    })?;
    match output {
        Output::Json => output::json(&report_document::write(&report)),
        Output::Svg => output::text(&sale_picture(&report)),
        Output::Table => {
            output::table(&["figure", "value"], &figures(&report))?;
            if !report.refusals.is_empty() {
                output::table(&["refused because", "times"], &refusals(&report))?;
            }
            let seconds = seconds(&report);
            if seconds.is_empty() {
                return Ok(());
            }
            let columns = ["second", "at", "sold", "checkouts", "refusals", "what"];
            output::table(&columns, &seconds)
        }
    }
}

/// The figures of the whole sale, one a row.
fn figures(report: &SaleReport) -> Vec<Value> {
    let state = if report.is_final { "final" } else { "so far" };
    let second = |moment: chrono::DateTime<chrono::Utc>| moment.format("%H:%M:%S").to_string();
    let peak = report.peak.map_or_else(none, |peak| {
        format!("{} at {}", thousands(peak.sold), second(report.moment(peak.second)))
    });
    let sold_out = report
        .time_to_sell_out()
        .map_or_else(none, |time| format!("{} after the start", span(time.num_milliseconds())));
    let rows = [
        ("sale", format!("{} {}", report.sale, report.name)),
        ("start (UTC)", report.window.starts_at().format("%Y-%m-%d %H:%M:%S").to_string()),
        ("end (UTC)", report.window.ends_at().format("%Y-%m-%d %H:%M:%S").to_string()),
        ("report", format!("{state}, as of {}", report.as_of.format("%Y-%m-%d %H:%M:%S"))),
        ("pieces sold", format!("{} of {}", thousands(report.sold), thousands(report.pieces))),
        ("sold out", sold_out),
        ("buyers", thousands(report.buyers)),
        ("checkouts", thousands(report.checkouts)),
        ("purchases", thousands(report.purchases)),
        ("purchases of nothing", thousands(report.unsuccessful)),
        ("refusals", thousands(report.refused())),
        ("most sold in a second", peak),
    ];
    rows.into_iter().map(|(figure, value)| json!({ "figure": figure, "value": value })).collect()
}

fn none() -> String {
    "–".to_owned()
}

/// The reasons, the most frequent first.
fn refusals(report: &SaleReport) -> Vec<Value> {
    let mut reasons: Vec<_> = report.refusals.iter().collect();
    reasons.sort_by_key(|(_, times)| -**times);
    let row = |(reason, times): (&String, &i64)| json!({ "refused because": reason, "times": thousands(*times) });
    reasons.into_iter().map(row).collect()
}

/// The seconds that matter, in order, each once, with all that it is.
fn seconds(report: &SaleReport) -> Vec<Value> {
    let mut found: Vec<(Interval, Vec<&str>)> = Vec::new();
    let mut add = |interval: Option<Interval>, what| {
        let Some(interval) = interval else { return };
        match found.iter_mut().find(|(known, _)| known.second == interval.second) {
            Some((_, all)) => all.push(what),
            None => found.push((interval, vec![what])),
        }
    };
    let sold = || report.intervals.iter().filter(|interval| interval.sold > 0).copied();
    add(sold().next(), "first piece sold");
    let peak = report.peak.and_then(|peak| {
        let holds = |one: &Interval| (one.second..one.second + one.seconds).contains(&peak.second);
        report.intervals.iter().copied().find(holds)
    });
    add(peak, "most sold");
    add(report.slowest, "least sold in between");
    let is_sold_out = report.sold_out_at.is_some();
    add(sold().next_back(), if is_sold_out { "sold out" } else { "last piece sold" });
    let refused = report.intervals.iter().filter(|interval| interval.refusals > 0);
    let busiest = refused.max_by_key(|one| (one.refusals / one.seconds, -one.second));
    add(busiest.copied(), "most refused");
    found.sort_by_key(|(interval, _)| interval.second);
    found.into_iter().map(|(interval, what)| second_row(report, interval, &what)).collect()
}

fn second_row(report: &SaleReport, interval: Interval, what: &[&str]) -> Value {
    let Interval { second, seconds, sold, checkouts, refusals, .. } = interval;
    let shown = match seconds {
        1 => thousands(second),
        _ => format!("{} to {}", thousands(second), thousands(second + seconds - 1)),
    };
    json!({
        "second": shown,
        "at": report.moment(second).format("%H:%M:%S").to_string(),
        "sold": thousands(sold),
        "checkouts": thousands(checkouts),
        "refusals": thousands(refusals),
        "what": what.join(", "),
    })
}
