//! `flash-sale buyer show`.

use chrono::DateTime;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::{COULD_NOT, Failure};
use super::ids::parse_sale;
use super::output::{self, Format};
use super::time::text;
use crate::app::Offline;
use crate::application::operators::buyer_story::ToldEntry;
use crate::application::ports::{
    BoughtLine, Cursor, Happened, RefusalRecord, StoryFilter, StoryKey,
};
use crate::config::Config;
use crate::domain::ids::{BuyerId, ItemId, RequestId, SaleId};

#[derive(Debug, Subcommand)]
pub(super) enum BuyerCommand {
    /// Shows what is on record of a buyer, oldest first: checkouts, lines, purchases, refusals, cancellations.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The buyer.
    #[arg(value_name = "BUYER", value_parser = parse_buyer)]
    buyer: BuyerId,
    /// Only in this sale.
    #[arg(long, value_name = "S-…", value_parser = parse_sale)]
    sale: Option<SaleId>,
    /// Only refusals.
    #[arg(long)]
    refusals: bool,
    /// Maximum number of entries.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Continues a list: its `next_cursor`.
    #[arg(long, value_parser = parse_cursor, allow_hyphen_values = true)]
    cursor: Option<StoryKey>,
}

pub(super) async fn run(
    BuyerCommand::Show(args): BuyerCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    offline.returns.learn_epochs().await;
    let wanted = StoryFilter { sale: args.sale, refusals_only: args.refusals };
    let after = Cursor { entry: args.cursor, limit: args.limit };
    let page = offline.returns.story.execute(&args.buyer, wanted, after).await;
    offline.close().await;
    let page = page.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let rows: Vec<Value> = page.entries.iter().map(row).collect();
    let columns = ["at", "what", "sale_id", "code", "item_id", "quantity", "reason", "request_id"];
    output::page(format, &columns, &rows, page.next.map(cursor))
}

fn row(told: &ToldEntry) -> Value {
    let mut row = json!({
        "at": text(told.entry.key.at),
        "what": "",
        "sale_id": told.entry.sale.to_string(),
        "code": told.code.map(|code| code.to_string()),
    });
    let (what, facts) = facts(&told.entry.happened);
    row["what"] = json!(what);
    if let (Value::Object(row), Value::Object(facts)) = (&mut row, facts) {
        row.extend(facts);
    }
    row
}

/// The name of what happened, and what else is known of it.
fn facts(happened: &Happened) -> (&'static str, Value) {
    match happened {
        Happened::Began(_) => ("attempt", json!({})),
        Happened::Collected(_, item, quantity) => {
            ("line", json!({ "item_id": item.as_str(), "quantity": quantity.get() }))
        }
        Happened::Purchased(_, lines) => {
            ("purchase", json!({ "lines": lines.iter().map(line).collect::<Vec<_>>() }))
        }
        Happened::Refused(refusal) => ("refusal", refused(refusal)),
        Happened::Cancelled(_, item, quantity, actor) => {
            let (item, quantity) = (item.as_str(), quantity.get());
            ("cancellation", json!({ "item_id": item, "quantity": quantity, "actor": actor }))
        }
    }
}

fn line(line: &BoughtLine) -> Value {
    let BoughtLine { item, quantity, outcome } = line;
    json!({ "item_id": item.as_str(), "quantity": quantity.get(), "outcome": outcome.as_str() })
}

fn refused(refusal: &RefusalRecord) -> Value {
    json!({
        "operation": refusal.operation,
        "reason": refusal.reason,
        "item_id": refusal.item.as_ref().map(ItemId::as_str),
        "request_id": refusal.request.as_ref().map(RequestId::as_str),
    })
}

fn parse_buyer(text: &str) -> Result<BuyerId, String> {
    BuyerId::parse(text).map_err(|error| format!("a buyer's id {error}"))
}

fn cursor(key: StoryKey) -> String {
    let StoryKey { at, kind, sale, first, second } = key;
    format!("{}.{kind}.{sale}.{first}.{second}", at.timestamp_micros())
}

fn parse_cursor(text: &str) -> Result<StoryKey, &'static str> {
    let key = || {
        let mut parts = text.split('.');
        let mut next = || parts.next()?.parse::<i64>().ok();
        let at = DateTime::from_timestamp_micros(next()?)?;
        let kind = i16::try_from(next()?).ok()?;
        let key = StoryKey { at, kind, sale: next()?, first: next()?, second: next()? };
        parts.next().is_none().then_some(key)
    };
    key().ok_or("a cursor is the next_cursor of a list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::at;

    #[test]
    fn a_cursor_is_parsed_from_its_text() {
        let key = StoryKey { at: at(-3), kind: 4, sale: 1, first: -77, second: 5 };

        assert_eq!(parse_cursor(&cursor(key)), Ok(key));
        for text in ["", "1.2.3.4", "1.2.3.4.5.6", "1.2.3.4.x", "9223372036854775807.2.3.4.5"] {
            assert!(parse_cursor(text).is_err(), "{text}");
        }
    }
}
