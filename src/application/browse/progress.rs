//! Progress of sales: the sum of a sale's stock, which all requests of a while share, so that polling front ends do not take
//! PostgreSQL's time from buyers.
//!
//! An instance runs one query for sums at a time, and none for a sale whose last sum is younger than [`MIN_AGE`]. A sum that may
//! lack a purchase that this instance acknowledged before the request arrived does not answer it: the request waits for the next.
//! Only the reading for live events has a pace of its own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;

use super::cached_sums::cached_sum;
use crate::application::ports::{Clock, ItemReader, Pause, PortError, ReadCache};
use crate::application::single_flight::SingleFlight;
use crate::domain::ids::SaleId;
use crate::domain::sale::Progress;

/// A sale is not summed again within this time.
pub(super) const MIN_AGE: Duration = Duration::from_millis(250);
/// Maximum number of sales whose sums are kept. Beyond it those that are too old to be used are dropped.
const MAX_SALES: usize = 1_000;
/// Maximum number of items that one query adds up, unless a single sale has more: it bounds the time of the query.
const MAX_ITEMS: i64 = 1_000_000;

/// A sale whose progress a request needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) sale: SaleId,
    /// Number of items.
    pub(super) items: i32,
    /// Monotonic time of the last purchase that this instance had acknowledged when the request arrived.
    pub(super) sold_at: Option<Duration>,
    /// The generation of the sale.
    pub(super) generation: i64,
}

/// More sales than this at once are not cached: each would need a query of its own.
const MAX_CACHED: usize = 16;

/// A sum, and the monotonic time at which its query began.
#[derive(Debug, Clone, Copy)]
struct Sum {
    began_at: Duration,
    progress: Progress,
}

/// What a sum is made of.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) items: &'a dyn ItemReader,
    pub(super) cache: Option<&'a dyn ReadCache>,
    pub(super) clock: &'a dyn Clock,
    pub(super) pause: &'a dyn Pause,
}

/// The last sum of each sale.
#[derive(Default)]
pub(super) struct SharedProgress {
    sums: Mutex<HashMap<SaleId, Sum>>,
    flight: SingleFlight,
}

impl SharedProgress {
    /// The progress of these sales. A sale that was dropped meanwhile has none.
    pub(super) async fn read(
        &self,
        wanted: &[Wanted],
        from: Sources<'_>,
    ) -> Result<HashMap<SaleId, Progress>, PortError> {
        let arrived_at = from.clock.monotonic();
        let mut found = HashMap::with_capacity(wanted.len());
        let mut missing = wanted.to_vec();
        loop {
            missing.retain(|wanted| match self.sum_for(wanted, arrived_at) {
                Some(progress) => {
                    found.insert(wanted.sale, progress);
                    false
                }
                None => true,
            });
            if missing.is_empty() {
                return Ok(found);
            }
            if let Some(pause) = self.pause_before(&missing, from.clock.monotonic()) {
                from.pause.pause(pause).await;
                continue;
            }
            let mut flight = self.flight.enter().await;
            flight.check_failure_since(arrived_at)?;
            let began_at = from.clock.monotonic();
            let due = self.due(&missing, arrived_at, began_at);
            if due.is_empty() {
                continue;
            }
            let sums = sums(&from, &due, &missing).await;
            flight.record(began_at, from.clock.monotonic(), &sums);
            let sums = sums?;
            missing.retain(|wanted| {
                !due.contains(&wanted.sale) || sums.iter().any(|(sale, _)| *sale == wanted.sale)
            });
            self.store(sums, began_at);
        }
    }

    /// The progress of these sales by sums that begin now, and that later requests share. A sale that was dropped meanwhile has
    /// none.
    pub(super) async fn renew(
        &self,
        wanted: &[Wanted],
        from: Sources<'_>,
    ) -> Result<HashMap<SaleId, Progress>, PortError> {
        let mut found = HashMap::with_capacity(wanted.len());
        let mut rest = wanted;
        while !rest.is_empty() {
            let (part, others) = rest.split_at(within_max_items(rest));
            rest = others;
            let mut flight = self.flight.enter().await;
            let began_at = from.clock.monotonic();
            let sales: Vec<SaleId> = part.iter().map(|wanted| wanted.sale).collect();
            let sums = from.items.progress(&sales).await;
            flight.record(began_at, from.clock.monotonic(), &sums);
            let sums = sums?;
            found.extend(sums.iter().copied());
            self.store(sums, began_at);
        }
        Ok(found)
    }

    /// The stored sum, if it answers a request that arrived at this time.
    fn sum_for(&self, wanted: &Wanted, arrived_at: Duration) -> Option<Progress> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = sums.get(&wanted.sale)?;
        let is_young = arrived_at < sum.began_at.saturating_add(MIN_AGE);
        let has_all = wanted.sold_at.is_none_or(|sold_at| sum.began_at >= sold_at);
        (is_young && has_all).then_some(sum.progress)
    }

    /// How long it takes until the first of these sales may be summed again; `None` if one may be now.
    fn pause_before(&self, missing: &[Wanted], now: Duration) -> Option<Duration> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let pauses = missing.iter().map(|wanted| {
            let next = sums.get(&wanted.sale).map(|sum| sum.began_at.saturating_add(MIN_AGE));
            next.map_or(Duration::ZERO, |next| next.saturating_sub(now))
        });
        pauses.min().filter(|pause| !pause.is_zero())
    }

    /// Those of the missing sales that the next query adds up.
    fn due(&self, missing: &[Wanted], arrived_at: Duration, now: Duration) -> Vec<SaleId> {
        let mut due = Vec::new();
        let mut items = 0;
        for wanted in missing {
            let is_answered = self.sum_for(wanted, arrived_at).is_some();
            if is_answered || self.pause_before(&[*wanted], now).is_some() {
                continue;
            }
            items += i64::from(wanted.items);
            if items > MAX_ITEMS && !due.is_empty() {
                break;
            }
            due.push(wanted.sale);
        }
        due
    }

    fn store(&self, sums: Vec<(SaleId, Progress)>, began_at: Duration) {
        let mut stored = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.len() + sums.len() > MAX_SALES {
            stored.retain(|_, sum| began_at < sum.began_at.saturating_add(MIN_AGE));
        }
        stored.extend(sums.into_iter().map(|(sale, progress)| (sale, Sum { began_at, progress })));
    }
}

/// How many of the first of these sales one query adds up; at least one.
fn within_max_items(wanted: &[Wanted]) -> usize {
    let mut items = 0;
    let fit = wanted.iter().take_while(|wanted| {
        items += i64::from(wanted.items);
        items <= MAX_ITEMS
    });
    fit.count().max(1)
}

/// The sums of these sales, cached if there is a cache.
async fn sums(
    from: &Sources<'_>,
    due: &[SaleId],
    wanted: &[Wanted],
) -> Result<Vec<(SaleId, Progress)>, PortError> {
    let Some(cache) = from.cache.filter(|_| due.len() <= MAX_CACHED) else {
        return from.items.progress(due).await;
    };
    let due = wanted.iter().filter(|wanted| due.contains(&wanted.sale));
    let sums = due.map(|wanted| cached_sum(from.items, cache, (wanted.sale, wanted.generation)));
    let sums = try_join_all(sums).await?;
    Ok(sums.into_iter().flatten().collect())
}
