//! `flash-sale why`.

use clap::Args;
use serde_json::{Value, json};

use super::failure::{COULD_NOT, FAILED, Failure};
use super::output::{self, Format};
use super::time::text;
use crate::app::Offline;
use crate::application::operators::why::{
    ExplainedAttempt, Explanation, Subject, left_at_refusal, left_then,
};
use crate::application::ports::{AttemptLine, RefusalRecord};
use crate::config::Config;
use crate::domain::ids::{BuyerId, ItemId, RequestId};
use crate::domain::purchase::LineOutcome;

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// The code of a checkout, or the id of a request: the header X-Request-Id of its answer.
    #[arg(value_name = "REQUEST-ID|CODE", value_parser = parse_subject)]
    subject: Subject,
}

pub(super) async fn run(args: WhyArgs, config: &Config, format: Format) -> Result<(), Failure> {
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    offline.returns.learn_epochs().await;
    let explained = offline.returns.why.execute(&args.subject).await;
    offline.close().await;
    match explained.map_err(|error| Failure::because(COULD_NOT, &error))? {
        Some(explanation) => print(&explanation, format),
        None => Err(Failure::new(FAILED, unknown(&args.subject))),
    }
}

fn unknown(subject: &Subject) -> String {
    match subject {
        Subject::Code(code) => {
            format!("nothing is on record of {code}: this service issued no such code")
        }
        Subject::Request(request) => format!(
            "nothing is on record of the request {}: it was not refused, or its details were not kept in a storm of refusals; \
             ask by the code of its checkout",
            request.as_str()
        ),
    }
}

fn print(explanation: &Explanation, format: Format) -> Result<(), Failure> {
    let attempts: Vec<Value> = explanation.attempts.iter().map(attempt).collect();
    let refusals: Vec<Value> = explanation.refusals.iter().map(refusal).collect();
    if format == Format::Json {
        let why = &explanation.sentence;
        return output::json(&json!({ "why": why, "attempts": attempts, "refusals": refusals }));
    }
    output::text(&explanation.sentence)?;
    for (explained, attempt) in explanation.attempts.iter().zip(&attempts) {
        output::text(&format!(
            "checkout {} of {}",
            explained.code,
            explained.record.buyer.as_str()
        ))?;
        let columns =
            ["item_id", "quantity", "outcome", "remaining_then", "remaining_now", "cancelled_at"];
        output::table(&columns, attempt["lines"].as_array().map_or(&[][..], Vec::as_slice))?;
        table(attempt["refusals"].as_array().map_or(&[][..], Vec::as_slice))?;
    }
    table(&refusals)
}

fn table(refusals: &[Value]) -> Result<(), Failure> {
    if refusals.is_empty() {
        return Ok(());
    }
    let columns =
        ["at", "operation", "reason", "item_id", "remaining_then", "remaining_now", "request_id"];
    output::table(&columns, refusals)
}

fn attempt(explained: &ExplainedAttempt) -> Value {
    let record = &explained.record;
    json!({
        "code": explained.code.to_string(),
        "sale_id": record.sale.to_string(),
        "buyer_id": record.buyer.as_str(),
        "began_at": text(record.began_at),
        "purchased_at": record.purchased_at.map(text),
        "lines": record.lines.iter().map(line).collect::<Vec<_>>(),
        "refusals": record.refusals.iter().map(refusal).collect::<Vec<_>>(),
    })
}

fn line(line: &AttemptLine) -> Value {
    json!({
        "item_id": line.item.as_str(),
        "quantity": line.quantity.get(),
        "collected_at": text(line.collected_at),
        "outcome": line.outcome.map(LineOutcome::as_str),
        "cancelled_at": line.cancelled_at.map(text),
        "remaining_then": left_then(line),
        "remaining_now": line.left_now,
    })
}

fn refusal(refusal: &RefusalRecord) -> Value {
    json!({
        "at": text(refusal.refused_at),
        "sale_id": refusal.sale.to_string(),
        "operation": refusal.operation,
        "reason": refusal.reason,
        "buyer_id": refusal.buyer.as_ref().map(BuyerId::as_str),
        "item_id": refusal.item.as_ref().map(ItemId::as_str),
        "request_id": refusal.request.as_ref().map(RequestId::as_str),
        "remaining_then": left_at_refusal(refusal),
        "remaining_now": refusal.left_now,
    })
}

fn parse_subject(text: &str) -> Result<Subject, &'static str> {
    Subject::parse(text).ok_or(
        "must be the code of a checkout, CHK-S-…, or the id of a request as its header X-Request-Id has it",
    )
}
