//! `flash-sale purchase cancel`: one purchase, or those of a file.

mod listed;
mod one;
mod printed;

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::ids::parse_item;
use super::output::Format;
use crate::config::Config;
use crate::domain::ids::ItemId;

#[derive(Debug, Subcommand)]
pub(super) enum PurchaseCommand {
    /// Takes a purchase back, or single items of it, or all purchases of a file: the pieces are on sale again on all instances, and
    /// the buyer's limit is given back. The outcome of its code stays as it was answered.
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The code of the purchase.
    #[arg(value_name = "CODE", required_unless_present = "from")]
    code: Option<String>,
    /// Only the line of this item; may be given several times.
    #[arg(long = "item", value_name = "ITEM", value_parser = parse_item, conflicts_with = "from")]
    items: Vec<ItemId>,
    /// A file with a code a line, or - for standard input. Each purchase is taken back by itself and has a line of the output. Ctrl-C
    /// ends those that have begun, and begins no other.
    #[arg(long, value_name = "FILE|-", conflicts_with = "code")]
    from: Option<String>,
    /// How many purchases of the file are taken back at a time, 1 to 16.
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = workers, conflicts_with = "code")]
    workers: NonZeroUsize,
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 16);
    number.ok_or_else(|| "must be a number from 1 to 16".to_owned())
}

pub(super) async fn run(
    PurchaseCommand::Cancel(args): PurchaseCommand,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    if let Some(from) = args.from {
        return listed::cancel(&from, args.workers, config, format).await;
    }
    one::cancel(&args.code.unwrap_or_default(), args.items, config, format).await
}
