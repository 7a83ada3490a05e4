//! Takes one purchase back.

use crate::app::Offline;
use crate::application::operators::cancel_purchase::{CancelCommand, CancelPurchaseError};
use crate::cli::actor::actor;
use crate::cli::failure::{COULD_NOT, FAILED, Failure};
use crate::cli::output::{self, Format};
use crate::cli::time::until_instances_know;
use crate::config::Config;
use crate::domain::cancellation::Wanted;
use crate::domain::code::CodeClaim;
use crate::domain::ids::ItemId;

use super::printed::{row, unknown};

pub(super) async fn cancel(
    text: &str,
    items: Vec<ItemId>,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let unknown = || Failure::new(FAILED, unknown(text));
    let code = CodeClaim::parse(text).ok_or_else(unknown)?;
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    let wanted = if items.is_empty() { Wanted::All } else { Wanted::Items(items) };
    offline.returns.prepare_change().await;
    let command = CancelCommand { code, wanted };
    let cancelled = offline.returns.cancel.execute(&command, &actor()).await;
    offline.close().await;
    let cancelled = match cancelled {
        Ok(cancelled) => cancelled,
        Err(CancelPurchaseError::UnknownCode) => return Err(unknown()),
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
