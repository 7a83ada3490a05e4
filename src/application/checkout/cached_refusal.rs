//! Refusals from memory, without I/O.

use super::command::{CheckoutAnswer, CheckoutCommand, CheckoutRefusal, LineChange};
use crate::application::catalogue::Catalogue;
use crate::application::ports::RefusalReason;
use crate::application::refusal_facts::StartFacts;
use crate::application::sale_cache::{CachedSale, SaleCache};
use crate::domain::sale::SaleState;

/// The refusal that the cached state of the sale justifies, if any.
pub(super) fn refusal(
    sale_cache: &SaleCache,
    cached: &CachedSale,
    command: &CheckoutCommand,
) -> Option<CheckoutAnswer> {
    match sale_cache.state(cached) {
        Some(SaleState::Upcoming) => {
            return Some(CheckoutAnswer::before_start(StartFacts::of(sale_cache, cached)));
        }
        Some(SaleState::Ended) => return Some(CheckoutAnswer::refused(RefusalReason::Ended)),
        // If the state is uncertain, PostgreSQL decides.
        Some(SaleState::Open) | None => {}
    }
    let limit = cached.sale.buyer_limit;
    if command.line_change.lines().iter().any(|line| line.quantity.get() > limit) {
        return Some(CheckoutAnswer::Refused(CheckoutRefusal::QuantityBeyondLimit(limit)));
    }
    item_refusal(sale_cache, cached, command, cached.loaded_catalogue()?)
}

/// The refusal for items that the sale does not have, or that are sold out according to a fresh cache.
pub(super) fn item_refusal(
    sale_cache: &SaleCache,
    cached: &CachedSale,
    command: &CheckoutCommand,
    catalogue: &Catalogue,
) -> Option<CheckoutAnswer> {
    let (mut unknown, mut sold_out) = (Vec::new(), Vec::new());
    for line in command.line_change.lines() {
        match catalogue.find(&line.item) {
            None => unknown.push(line.item.clone()),
            Some(item) if cached.is_sold_out(item) => sold_out.push(line.item.clone()),
            Some(_) => {}
        }
    }
    if let LineChange::Remove(item) = &command.line_change
        && catalogue.find(item).is_none()
    {
        unknown.push(item.clone());
    }
    if !unknown.is_empty() {
        return Some(CheckoutAnswer::refused_for(RefusalReason::ItemNotFound, unknown));
    }
    if sold_out.is_empty() || !sale_cache.may_refuse(cached) {
        return None;
    }
    Some(CheckoutAnswer::refused_for(sold_out_reason(sale_cache, cached), sold_out))
}

/// Whether only the items or the whole sale is sold out.
pub(super) fn sold_out_reason(sale_cache: &SaleCache, cached: &CachedSale) -> RefusalReason {
    if cached.all_sold_out() && sale_cache.may_refuse(cached) {
        RefusalReason::SaleSoldOut
    } else {
        RefusalReason::ItemSoldOut
    }
}
