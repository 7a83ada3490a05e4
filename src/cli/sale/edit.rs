//! `flash-sale sale change`, `sale end`, `sale cancel` and `sale restock`.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Value, json};

use crate::app::Offline;
use crate::application::operators::edit_sale::EditSaleError;
use crate::application::operators::restock::{RestockCommand, RestockError};
use crate::cli::actor::actor;
use crate::cli::failure::{BAD_ARGUMENTS, FAILED, Failure};
use crate::cli::ids::{parse_item, parse_sale};
use crate::cli::output::{self, Format};
use crate::cli::time::{database_now, text, until_instances_know};
use crate::config::Config;
use crate::domain::ids::{ItemId, SaleId};
use crate::domain::sale::{MAX_BUYER_LIMIT, MAX_STOCK};
use crate::domain::sale_edit::{SaleChange, SaleEdit};
use crate::domain::time_text::parse_moment;

const COLUMNS: [&str; 8] =
    ["sale_id", "name", "state", "starts_at", "ends_at", "buyer_limit", "items", "changed"];

#[derive(Debug, Args)]
pub(crate) struct SaleArgs {
    /// The sale.
    #[arg(value_name = "S-…", value_parser = parse_sale)]
    sale: SaleId,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The sale.
    #[arg(value_name = "S-…", value_parser = parse_sale)]
    sale: SaleId,
    /// New display name.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// New start, in the future, while the old one is more than ten seconds away.
    #[arg(long, value_name = "RFC3339", value_parser = parse_moment)]
    starts_at: Option<DateTime<Utc>>,
    /// New end, in the future; also of a sale that has ended.
    #[arg(long, value_name = "RFC3339", value_parser = parse_moment)]
    ends_at: Option<DateTime<Utc>>,
    /// New maximum number of pieces per buyer, before the sale starts.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=i64::from(MAX_BUYER_LIMIT)))]
    buyer_limit: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct RestockArgs {
    /// The sale.
    #[arg(value_name = "S-…", value_parser = parse_sale)]
    sale: SaleId,
    /// The id of the item.
    #[arg(value_name = "ITEM", value_parser = parse_item)]
    item: ItemId,
    /// Pieces to add; a negative number takes some of those that are left.
    #[arg(
        long,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-i64::from(MAX_STOCK)..=i64::from(MAX_STOCK))
    )]
    pieces: i32,
}

pub(super) async fn change(
    args: ChangeArgs,
    config: &Config,
    offline: &Offline,
    format: Format,
) -> Result<(), Failure> {
    let ChangeArgs { sale, name, starts_at, ends_at, buyer_limit } = args;
    let change = SaleChange { name, starts_at, ends_at, buyer_limit };
    edit(sale, &SaleEdit::Change(change), (config, offline), format).await
}

pub(super) async fn end(
    args: &SaleArgs,
    config: &Config,
    offline: &Offline,
    format: Format,
) -> Result<(), Failure> {
    edit(args.sale, &SaleEdit::End, (config, offline), format).await
}

pub(super) async fn cancel(
    args: &SaleArgs,
    config: &Config,
    offline: &Offline,
    format: Format,
) -> Result<(), Failure> {
    edit(args.sale, &SaleEdit::Cancel, (config, offline), format).await
}

async fn edit(
    sale: SaleId,
    edit: &SaleEdit,
    (config, offline): (&Config, &Offline),
    format: Format,
) -> Result<(), Failure> {
    offline.returns.prepare_change().await;
    let edited = match offline.edit_sale.execute(sale, edit, &actor()).await {
        Ok(edited) => edited,
        Err(error @ EditSaleError::Empty) => return Err(Failure::because(BAD_ARGUMENTS, &error)),
        Err(EditSaleError::Refused(refusal)) => return Err(refused("sale", sale, &refusal)),
        Err(EditSaleError::Port(error)) => return Err(Failure::because(BAD_ARGUMENTS, &error)),
    };
    let (sale, mut now) = (edited.sale, database_now(offline).await?);
    if *edit == SaleEdit::End {
        let left = (sale.window.ends_at() - now).to_std().unwrap_or(Duration::ZERO);
        tokio::time::sleep(left).await;
        now = now.max(sale.window.ends_at());
    }
    if edited.is_changed {
        until_instances_know(config).await;
    }
    let state = sale.window.state_at(now).as_str();
    let row = json!({
        "sale_id": sale.id.to_string(),
        "name": sale.name,
        "state": if edited.is_cancelled { "cancelled" } else { state },
        "starts_at": text(sale.window.starts_at()),
        "ends_at": text(sale.window.ends_at()),
        "buyer_limit": sale.buyer_limit,
        "items": sale.items,
        "changed": edited.is_changed,
    });
    print(row, &COLUMNS, format)
}

pub(super) async fn restock(
    args: RestockArgs,
    config: &Config,
    offline: &Offline,
    format: Format,
) -> Result<(), Failure> {
    let RestockArgs { sale, item, pieces } = args;
    let command = RestockCommand { sale, item, pieces };
    offline.returns.prepare_change().await;
    let stock = match offline.restock.execute(&command, &actor()).await {
        Ok(stock) => stock,
        Err(error @ RestockError::Nothing) => return Err(Failure::because(BAD_ARGUMENTS, &error)),
        Err(RestockError::Refused(refusal)) => return Err(refused("sale", sale, &refusal)),
        Err(RestockError::Port(error)) => return Err(Failure::because(BAD_ARGUMENTS, &error)),
    };
    until_instances_know(config).await;
    let row = json!({
        "sale_id": sale.to_string(),
        "id": command.item.as_str(),
        "stock": stock.pieces,
        "sold": stock.sold,
        "remaining": stock.pieces - stock.sold,
    });
    print(row, &["sale_id", "id", "stock", "sold", "remaining"], format)
}

/// The operator may not do this: nothing has changed.
fn refused(what: &str, id: impl std::fmt::Display, refusal: &(dyn Error + 'static)) -> Failure {
    Failure::new(FAILED, format!("{what} {id} stays as it is: {refusal}"))
}

fn print(row: Value, columns: &[&str], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(&row),
        Format::Table => output::table(columns, &[row]),
    }
}
