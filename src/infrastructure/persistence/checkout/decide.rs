//! Decides a batch of checkouts.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::basket::{Basket, Baskets};
use crate::application::ports::{Collect, Collected, StockFacts};
use crate::domain::checkout::{BuyerPieces, Change};
use crate::domain::ids::{AttemptId, ItemNo};
use crate::domain::terms::CheckoutTag;
use crate::infrastructure::persistence::idempotency::request::MaybeKeyed;

/// What a sale allows.
#[derive(Debug)]
pub(super) struct SaleFacts {
    pub(super) buyer_limit: i32,
    pub(super) generation: i64,
    /// The requested items that are sold out.
    pub(super) sold_out: HashSet<i32>,
}

/// Decides every request in order of arrival. `ids` has a number for each buyer without an open attempt; `used` has the indexes of
/// requests whose key was used before. The versions of the replies are not set yet.
pub(super) fn decide(
    requests: &[MaybeKeyed<Collect>],
    sale: &SaleFacts,
    baskets: &mut Baskets<'_>,
    mut ids: Vec<AttemptId>,
    used: &HashSet<usize>,
) -> Vec<Option<Collected>> {
    let mut replies = Vec::with_capacity(requests.len());
    for (index, MaybeKeyed { request, .. }) in requests.iter().enumerate() {
        let reply = match baskets.get_mut(request.buyer.as_str()) {
            _ if used.contains(&index) => None,
            Some(basket) => Some(decide_one(request, sale, basket, &mut ids)),
            None => Some(Collected::OverLimit(BuyerPieces::default())),
        };
        replies.push(reply);
    }
    replies
}

fn decide_one(
    request: &Collect,
    sale: &SaleFacts,
    basket: &mut Basket<'_>,
    ids: &mut Vec<AttemptId>,
) -> Collected {
    if request.attempt.is_some_and(|named| basket.attempt() != Some(named)) {
        return Collected::Closed;
    }
    let has_tag = |tags: &Vec<CheckoutTag>| tags.contains(&CheckoutTag::of(&basket.totals.lines));
    if !request.tags.as_ref().is_none_or(has_tag) {
        return Collected::OtherTag;
    }
    let lines = request.edit.lines();
    let items = lines.iter().map(|line| line.item);
    let sold_out: Vec<ItemNo> = items.filter(|item| sale.sold_out.contains(&item.0)).collect();
    if !sold_out.is_empty() {
        let generation = sale.generation;
        return Collected::SoldOut(StockFacts { generation, sold_out, sold: Vec::new() });
    }
    if !lines.is_empty() && !basket.totals.fits(lines, sale.buyer_limit) {
        return Collected::OverLimit(basket.totals.pieces());
    }
    let opened = basket.attempt().is_none();
    let Some(attempt) = basket.attempt_or_open(ids) else {
        return Collected::OverLimit(basket.totals.pieces());
    };
    let change = basket.edit(&request.edit);
    Collected::Added {
        attempt,
        created: if request.attempt.is_some() { change == Change::Added } else { opened },
        totals: basket.totals.clone(),
        change,
        version: 0,
    }
}

/// Sets the versions that the buyers' rows got from a batch that was written at this time.
pub(super) fn set_versions(
    replies: &mut [Option<Collected>],
    requests: &[MaybeKeyed<Collect>],
    baskets: &Baskets<'_>,
    now: DateTime<Utc>,
) {
    for (reply, MaybeKeyed { request, .. }) in replies.iter_mut().zip(requests) {
        if let Some(Collected::Added { version, .. }) = reply
            && let Some(basket) = baskets.get(request.buyer.as_str())
        {
            *version = basket.version(now);
        }
    }
}
