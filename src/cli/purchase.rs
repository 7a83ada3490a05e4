//! `flash-sale purchase cancel`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::actor::actor;
use super::failure::{COULD_NOT, FAILED, Failure};
use super::ids::parse_item;
use super::output::{self, Format};
use super::time::{text, until_instances_know};
use crate::app::Offline;
use crate::application::operators::cancel_purchase::{
    CancelCommand, CancelPurchaseError, Cancelled,
};
use crate::config::Config;
use crate::domain::cancellation::Wanted;
use crate::domain::code::CodeClaim;
use crate::domain::ids::ItemId;

#[derive(Debug, Subcommand)]
pub(super) enum PurchaseCommand {
    /// Takes a purchase back, or single items of it: the pieces are on sale again on all instances, and the buyer's limit is given
    /// back. The outcome of its code stays as it was answered.
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The code of the purchase.
    #[arg(value_name = "CODE")]
    code: String,
    /// Only the line of this item; may be given several times.
    #[arg(long = "item", value_name = "ITEM", value_parser = parse_item)]
    items: Vec<ItemId>,
}

pub(super) async fn run(
    PurchaseCommand::Cancel(args): PurchaseCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let Some(code) = CodeClaim::parse(&args.code) else {
        return Err(unknown(&args.code));
    };
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let wanted = if args.items.is_empty() { Wanted::All } else { Wanted::Items(args.items) };
    offline.returns.prepare_change().await;
    let command = CancelCommand { code, wanted };
    let cancelled = offline.returns.cancel.execute(&command, &actor()).await;
    offline.close().await;
    let cancelled = match cancelled {
        Ok(cancelled) => cancelled,
        Err(CancelPurchaseError::UnknownCode) => return Err(unknown(&args.code)),
        Err(CancelPurchaseError::Refused(refusal)) => {
            let stays = format!("the purchase {code} stays as it is: {refusal}");
            return Err(Failure::new(FAILED, stays));
        }
        Err(CancelPurchaseError::Port(error)) => return Err(Failure::because(COULD_NOT, &error)),
    };
    if !cancelled.is_announced {
        until_instances_know(config).await;
    }
    output::one(
        format,
        &["code", "buyer_id", "cancelled_at", "pieces_cancelled", "pieces_left", "items"],
        &row(code, &cancelled),
    )
}

fn unknown(code: &str) -> Failure {
    Failure::new(FAILED, format!("there is no purchase {code:?}: this service issued no such code"))
}

fn row(code: CodeClaim, cancelled: &Cancelled) -> Value {
    let cancellation = &cancelled.cancellation;
    let items = cancellation
        .lines
        .iter()
        .map(|taken| json!({ "id": taken.id.as_str(), "quantity": taken.line.quantity.get() }));
    json!({
        "code": code.to_string(),
        "sale_id": code.sale.to_string(),
        "buyer_id": cancellation.buyer.as_str(),
        "cancelled_at": text(cancellation.cancelled_at),
        "items": items.collect::<Vec<_>>(),
        "pieces_cancelled": cancellation.pieces(),
        "pieces_left": cancellation.pieces_left,
        "bought": cancellation.bought,
    })
}
