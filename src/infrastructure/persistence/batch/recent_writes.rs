//! What this instance wrote recently and need not read again: open checkouts as its last write left them, and items that it saw sold
//! out.
//!
//! It does not learn of other instances' writes. A decision based on it must therefore be written under conditions that fail once
//! it is outdated: the buyer's row still has the version it was written with, the sale still has the generation. Within one history of
//! the database a row never has a version twice, whatever the clock does ([`version`](super::version)). With another history (a server
//! that was restored or promoted) everything here is dropped.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::known_buyers::{BuildSpread, BuyerHash, KnownBuyers};
use super::lost_writes::Acknowledged;
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};

/// Maximum number of remembered checkouts: those of the last seconds of a rush.
const MAX_CHECKOUTS: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();
/// Maximum number of sales whose sold-out items are remembered: as many as the sale cache holds.
const MAX_SALES: usize = 1_000;

/// An open checkout and its buyer's row, as this instance wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenCheckout {
    pub(crate) sale: SaleId,
    pub(crate) attempt: AttemptId,
    pub(crate) buyer: BuyerId,
    /// Version of the buyer's row.
    pub(crate) version: i64,
    /// Pieces bought so far.
    pub(crate) bought: i32,
    /// Most pieces that may be bought.
    pub(crate) limit: i32,
    pub(crate) lines: Vec<Line>,
}

/// Everything that a batch of purchases is decided on.
#[derive(Debug)]
pub(crate) struct RememberedBatch {
    /// The checkouts, in the order of the requested attempts; each of another buyer.
    pub(crate) checkouts: Vec<OpenCheckout>,
    /// Those of their items that are sold out, in this generation of the sale.
    pub(crate) sold_out: HashSet<ItemNo>,
    pub(crate) generation: i64,
}

/// What a batch of checkouts may be decided on without reading.
#[derive(Debug)]
pub(crate) struct RecalledSale {
    /// Most pieces that a buyer may have.
    pub(crate) buyer_limit: i32,
    pub(crate) generation: i64,
    /// By the bytes of the buyers' ids: their open checkouts. `None` is a buyer who is not known to have a row.
    pub(crate) buyers: Vec<Option<OpenCheckout>>,
}

/// A bounded memory of writes; the least recently used entries are dropped first.
#[derive(Debug, Default)]
pub(crate) struct RecentWrites {
    checkouts: Mutex<Checkouts>,
    sales: Mutex<HashMap<SaleId, RecentSale>>,
    /// Attempts that were purchased, oldest first: of use only to find out what a failover has lost.
    purchased: Mutex<VecDeque<(SaleId, AttemptId)>>,
}

/// A sale as a committed statement saw it.
#[derive(Debug, Default)]
struct RecentSale {
    generation: i64,
    buyer_limit: Option<i32>,
    /// Items without a piece left. They stay sold out for the rest of the generation.
    sold_out: HashSet<ItemNo>,
}

/// The open checkouts, and who has one.
#[derive(Debug)]
struct Checkouts {
    open: LruCache<AttemptId, Remembered, BuildSpread>,
    /// The last of them of each buyer.
    of_buyer: HashMap<BuyerHash, AttemptId, BuildSpread>,
    with_row: KnownBuyers,
}

#[derive(Debug)]
struct Remembered {
    checkout: OpenCheckout,
    of: BuyerHash,
}

impl Default for Checkouts {
    fn default() -> Self {
        // Bounded afterwards, so that it allocates as it fills.
        let mut open = LruCache::unbounded_with_hasher(BuildSpread::default());
        open.resize(MAX_CHECKOUTS);
        Self { open, of_buyer: HashMap::default(), with_row: KnownBuyers::default() }
    }
}

impl Checkouts {
    fn put(&mut self, checkout: OpenCheckout) {
        let attempt = checkout.attempt;
        let of = self.with_row.hash(checkout.sale, &checkout.buyer);
        self.with_row.insert(of);
        self.of_buyer.insert(of, attempt);
        if let Some((dropped, Remembered { of, .. })) =
            self.open.push(attempt, Remembered { checkout, of })
            && dropped != attempt
            && self.of_buyer.get(&of) == Some(&dropped)
        {
            self.of_buyer.remove(&of);
        }
    }

    fn pop(&mut self, attempt: AttemptId) -> Option<OpenCheckout> {
        let Remembered { checkout, of } = self.open.pop(&attempt)?;
        if self.of_buyer.get(&of) == Some(&attempt) {
            self.of_buyer.remove(&of);
        }
        Some(checkout)
    }

    /// The remembered checkout of a buyer who is known to have a row; `None` if it is not remembered any more.
    fn of(&self, sale: SaleId, buyer: &BuyerId, hash: BuyerHash) -> Option<&OpenCheckout> {
        let open = &self.open.peek(self.of_buyer.get(&hash)?)?.checkout;
        (open.sale == sale && open.buyer == *buyer).then_some(open)
    }
}

impl RecentWrites {
    /// Forgets everything, because the database has another history. Returns the checkouts and purchases that it remembered.
    pub(crate) fn clear(&self) -> Vec<Acknowledged> {
        self.sales().clear();
        let of = |sale, attempt, is_purchased| Acknowledged { sale, attempt, is_purchased };
        let mut checkouts = self.checkouts();
        let mut known: Vec<_> = checkouts
            .open
            .iter()
            .map(|(attempt, open)| of(open.checkout.sale, *attempt, false))
            .collect();
        checkouts.open.clear();
        checkouts.of_buyer.clear();
        checkouts.with_row.clear();
        let purchased = std::mem::take(&mut *self.purchased());
        known.extend(purchased.into_iter().map(|(sale, attempt)| of(sale, attempt, true)));
        known
    }

    /// Remembers a purchase that was committed.
    pub(crate) fn remember_purchase(&self, sale: SaleId, attempt: AttemptId) {
        let mut purchased = self.purchased();
        if purchased.len() >= MAX_CHECKOUTS.get() {
            purchased.pop_front();
        }
        purchased.push_back((sale, attempt));
    }

    /// Remembers checkouts that were written and committed.
    pub(crate) fn remember(&self, written: impl IntoIterator<Item = OpenCheckout>) {
        let mut checkouts = self.checkouts();
        for checkout in written {
            checkouts.put(checkout);
        }
    }

    /// Forgets checkouts that a transaction is changing which is not committed yet.
    pub(crate) fn forget(&self, written: impl IntoIterator<Item = AttemptId>) {
        let mut checkouts = self.checkouts();
        for attempt in written {
            checkouts.pop(attempt);
        }
    }

    /// Remembers that these buyers have a row.
    pub(crate) fn remember_buyers<'b>(
        &self,
        sale: SaleId,
        with_row: impl IntoIterator<Item = &'b BuyerId>,
    ) {
        let mut checkouts = self.checkouts();
        for buyer in with_row {
            let hash = checkouts.with_row.hash(sale, buyer);
            checkouts.with_row.insert(hash);
        }
    }

    /// Whether the buyer is known to have a row.
    pub(crate) fn knows_buyer(&self, sale: SaleId, buyer: &BuyerId) -> bool {
        let checkouts = self.checkouts();
        checkouts.with_row.contains(checkouts.with_row.hash(sale, buyer))
    }

    /// Remembers the limit, as a committed statement saw it, of a sale that is known.
    pub(crate) fn remember_limit(&self, sale: SaleId, buyer_limit: i32) {
        if let Some(known) = self.sales().get_mut(&sale) {
            known.buyer_limit = Some(buyer_limit);
        }
    }

    /// Remembers items that a committed statement saw sold out.
    pub(crate) fn remember_sold_out(
        &self,
        sale: SaleId,
        generation: i64,
        items: impl IntoIterator<Item = ItemNo>,
    ) {
        let mut sales = self.sales();
        if sales.len() >= MAX_SALES && !sales.contains_key(&sale) {
            sales.clear();
        }
        let known = sales.entry(sale).or_default();
        if known.generation < generation {
            known.generation = generation;
            known.sold_out.clear();
        }
        if known.generation == generation {
            known.sold_out.extend(items);
        }
    }

    /// Takes what a batch of checkouts of these buyers, each once, and items can be decided on: `None` if something has to be read, an
    /// item is sold out, or a checkout has more than `lines_each` lines. An entry serves one decision only.
    pub(crate) fn recall(
        &self,
        sale: SaleId,
        buyers: &[&BuyerId],
        items: impl IntoIterator<Item = ItemNo>,
        lines_each: usize,
    ) -> Option<RecalledSale> {
        let (buyer_limit, generation) = {
            let sales = self.sales();
            let known = sales.get(&sale)?;
            if items.into_iter().any(|item| known.sold_out.contains(&item)) {
                return None;
            }
            (known.buyer_limit?, known.generation)
        };
        let mut checkouts = self.checkouts();
        let mut attempts = Vec::with_capacity(buyers.len());
        for buyer in buyers {
            let hash = checkouts.with_row.hash(sale, buyer);
            let open = if checkouts.with_row.contains(hash) {
                let open = checkouts.of(sale, buyer, hash)?;
                if open.lines.len() > lines_each {
                    return None;
                }
                Some(open.attempt)
            } else {
                None
            };
            attempts.push(open);
        }
        let take = |attempt: Option<AttemptId>| checkouts.pop(attempt?);
        let buyers = attempts.into_iter().map(take).collect();
        Some(RecalledSale { buyer_limit, generation, buyers })
    }

    /// Takes what is remembered of these attempts, if it is everything that a decision needs and none has more than `lines_each` lines.
    /// An entry serves one decision only.
    pub(crate) fn take(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
        lines_each: usize,
    ) -> Option<RememberedBatch> {
        let checkouts = self.take_checkouts(sale, attempts, lines_each)?;
        let sales = self.sales();
        let known = sales.get(&sale)?;
        let items = checkouts.iter().flat_map(|checkout| &checkout.lines).map(|line| line.item);
        let sold_out = items.filter(|item| known.sold_out.contains(item)).collect();
        Some(RememberedBatch { checkouts, sold_out, generation: known.generation })
    }

    fn take_checkouts(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
        lines_each: usize,
    ) -> Option<Vec<OpenCheckout>> {
        let mut checkouts = self.checkouts();
        let mut buyers = HashSet::with_capacity_and_hasher(attempts.len(), BuildSpread::default());
        let are_known = attempts.iter().all(|attempt| {
            checkouts.open.peek(attempt).is_some_and(|Remembered { checkout, of }| {
                checkout.sale == sale && checkout.lines.len() <= lines_each && buyers.insert(*of)
            })
        });
        if !are_known {
            return None;
        }
        Some(attempts.iter().filter_map(|attempt| checkouts.pop(*attempt)).collect())
    }

    fn checkouts(&self) -> MutexGuard<'_, Checkouts> {
        self.checkouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn purchased(&self) -> MutexGuard<'_, VecDeque<(SaleId, AttemptId)>> {
        self.purchased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sales(&self) -> MutexGuard<'_, HashMap<SaleId, RecentSale>> {
        self.sales.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{attempt_id, buyer, line, sale_id};

    fn checkout(attempt: i64, who: &str, items: &[i32]) -> OpenCheckout {
        OpenCheckout {
            sale: sale_id(1),
            attempt: attempt_id(attempt),
            buyer: buyer(who),
            version: attempt,
            bought: 0,
            limit: 10,
            lines: items.iter().map(|item| line(*item, 1)).collect(),
        }
    }

    fn attempts(numbers: &[i64]) -> Vec<AttemptId> {
        numbers.iter().map(|number| attempt_id(*number)).collect()
    }

    fn with(checkouts: &[OpenCheckout]) -> RecentWrites {
        let recent = RecentWrites::default();
        recent.remember(checkouts.iter().cloned());
        recent.remember_sold_out(sale_id(1), 7, [ItemNo(2)]);
        recent
    }

    #[test]
    fn the_last_write_is_taken_once() {
        let (first, later) = (checkout(1, "ann", &[1]), checkout(1, "ann", &[1, 2]));
        let recent = with(&[first, checkout(2, "bob", &[3]), later.clone()]);

        let taken = recent.take(sale_id(1), &attempts(&[2, 1]), 9).unwrap();

        assert_eq!(taken.checkouts, [checkout(2, "bob", &[3]), later]);
        assert_eq!((taken.sold_out, taken.generation), (HashSet::from([ItemNo(2)]), 7));
        assert!(recent.take(sale_id(1), &attempts(&[1]), 9).is_none());
    }

    #[test]
    fn nothing_is_taken_unless_every_attempt_is_known_and_of_another_buyer() {
        let recent = with(&[checkout(1, "ann", &[1]), checkout(2, "ann", &[2])]);

        for (sale, asked) in [(1, [1, 3]), (1, [1, 2]), (1, [1, 1]), (2, [1, 1])] {
            assert!(recent.take(sale_id(sale), &attempts(&asked), 9).is_none(), "{sale} {asked:?}");
        }
        assert!(recent.take(sale_id(1), &attempts(&[1]), 9).is_some());
    }

    #[test]
    fn nothing_is_taken_of_a_sale_without_a_known_generation() {
        let recent = RecentWrites::default();
        recent.remember([checkout(1, "ann", &[1])]);

        assert!(recent.take(sale_id(1), &attempts(&[1]), 9).is_none());
    }

    #[test]
    fn nothing_is_taken_where_a_checkout_is_too_long_for_its_batch() {
        let recent = with(&[checkout(1, "ann", &[1, 3, 4]), checkout(2, "bob", &[3])]);

        assert!(recent.take(sale_id(1), &attempts(&[1, 2]), 2).is_none());
        assert!(recent.take(sale_id(1), &attempts(&[1, 2]), 3).is_some());
    }

    /// What can be recalled of these buyers for item 1, each with the number of its attempt.
    fn recalled(recent: &RecentWrites, buyers: &[&str]) -> Option<Vec<Option<i64>>> {
        let buyers: Vec<BuyerId> = buyers.iter().map(|name| buyer(name)).collect();
        let buyers: Vec<&BuyerId> = buyers.iter().collect();
        let recalled = recent.recall(sale_id(1), &buyers, [ItemNo(1)], 2)?;
        assert_eq!((recalled.buyer_limit, recalled.generation), (10, 7));
        let attempt = |open: &Option<OpenCheckout>| Some(open.as_ref()?.attempt.get());
        Some(recalled.buyers.iter().map(attempt).collect())
    }

    #[test]
    fn buyers_are_recalled_once_with_their_last_checkout_or_as_new() {
        let recent = with(&[checkout(1, "ann", &[1]), checkout(2, "ann", &[3])]);
        assert_eq!(recalled(&recent, &["ann"]), None, "the limit is not known");
        recent.remember_limit(sale_id(1), 10);

        assert_eq!(recalled(&recent, &["ann", "bob"]), Some(vec![Some(2), None]));
        assert_eq!(recalled(&recent, &["bob", "ann"]), None, "she has a row that must be read");
        assert_eq!(recalled(&recent, &["bob"]), Some(vec![None]));
    }

    #[test]
    fn what_would_be_refused_or_is_too_long_is_not_recalled() {
        let recent = with(&[checkout(1, "ann", &[1, 3, 4]), checkout(2, "bob", &[3])]);
        recent.remember_limit(sale_id(1), 10);
        recent.remember_buyers(sale_id(1), [&buyer("eve")]);

        assert_eq!(recalled(&recent, &["ann"]), None, "too many lines");
        assert_eq!(recalled(&recent, &["bob", "eve"]), None, "eve's row is not remembered");
        recent.remember_sold_out(sale_id(1), 7, [ItemNo(1)]);
        assert_eq!(recalled(&recent, &["bob"]), None, "the item is sold out");
        recent.remember_sold_out(sale_id(1), 8, []);
        recent.remember_sold_out(sale_id(1), 7, []);
        assert_eq!(recent.sales()[&sale_id(1)].sold_out.len(), 0);
        recent.forget([attempt_id(2)]);
        assert_eq!(recalled(&recent, &["bob"]), None, "a transaction is changing it");
    }

    #[test]
    fn sold_out_items_belong_to_their_generation() {
        let recent = with(&[checkout(1, "ann", &[1, 2, 3])]);

        recent.remember_sold_out(sale_id(1), 8, [ItemNo(3)]);
        recent.remember_sold_out(sale_id(1), 7, [ItemNo(1)]);

        let taken = recent.take(sale_id(1), &attempts(&[1]), 9).unwrap();
        assert_eq!((taken.sold_out, taken.generation), (HashSet::from([ItemNo(3)]), 8));
    }

    #[test]
    fn it_keeps_its_bounds() {
        let recent = RecentWrites::default();
        let many = i64::try_from(MAX_CHECKOUTS.get()).unwrap() + 1;
        recent.remember((1..=many).map(|number| checkout(number, &number.to_string(), &[1])));
        for sale in 1..=i64::try_from(MAX_SALES).unwrap() + 1 {
            recent.remember_sold_out(sale_id(sale), 1, []);
        }

        let checkouts = recent.checkouts();
        assert_eq!(checkouts.open.len(), MAX_CHECKOUTS.get());
        assert_eq!(checkouts.of_buyer.len(), MAX_CHECKOUTS.get());
        assert!(checkouts.open.peek(&attempt_id(1)).is_none());
        drop(checkouts);
        recent.forget((1..=many).map(attempt_id));
        assert_eq!(recent.checkouts().of_buyer.len(), 0);
        assert_eq!(recent.sales().len(), 1);
    }
}
