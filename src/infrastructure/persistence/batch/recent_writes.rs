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

use super::lost_writes::Acknowledged;
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};

/// Maximum number of remembered checkouts, and of buyers: those of the last seconds of a rush.
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

/// A bounded memory of writes; the least recently used entries are dropped first.
#[derive(Debug)]
pub(crate) struct RecentWrites {
    checkouts: Mutex<LruCache<AttemptId, OpenCheckout>>,
    buyers: Mutex<LruCache<(SaleId, BuyerId), ()>>,
    sold_out: Mutex<HashMap<SaleId, SoldOut>>,
    /// Attempts that were purchased, oldest first: of use only to find out what a failover has lost.
    purchased: Mutex<VecDeque<(SaleId, AttemptId)>>,
}

/// Items without a piece left. They stay sold out for the rest of the generation.
#[derive(Debug, Default)]
struct SoldOut {
    generation: i64,
    items: HashSet<ItemNo>,
}

impl Default for RecentWrites {
    fn default() -> Self {
        Self {
            checkouts: bounded(),
            buyers: bounded(),
            sold_out: Mutex::default(),
            purchased: Mutex::default(),
        }
    }
}

impl RecentWrites {
    /// Forgets everything, because the database has another history. Returns the checkouts and purchases that it remembered.
    pub(crate) fn clear(&self) -> Vec<Acknowledged> {
        self.buyers().clear();
        self.sold_out().clear();
        let of = |sale, attempt, is_purchased| Acknowledged { sale, attempt, is_purchased };
        let mut checkouts = self.checkouts();
        let mut known: Vec<_> =
            checkouts.iter().map(|(attempt, open)| of(open.sale, *attempt, false)).collect();
        checkouts.clear();
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
        let (mut checkouts, mut buyers) = (self.checkouts(), self.buyers());
        for checkout in written {
            buyers.put((checkout.sale, checkout.buyer.clone()), ());
            checkouts.put(checkout.attempt, checkout);
        }
    }

    /// Forgets checkouts that a transaction is changing which is not committed yet.
    pub(crate) fn forget(&self, written: impl IntoIterator<Item = AttemptId>) {
        let mut checkouts = self.checkouts();
        for attempt in written {
            checkouts.pop(&attempt);
        }
    }

    /// Remembers that these buyers have a row.
    pub(crate) fn remember_buyers<'b>(
        &self,
        sale: SaleId,
        with_row: impl IntoIterator<Item = &'b BuyerId>,
    ) {
        let mut buyers = self.buyers();
        for buyer in with_row {
            buyers.put((sale, buyer.clone()), ());
        }
    }

    /// Whether the buyer is known to have a row.
    pub(crate) fn knows_buyer(&self, sale: SaleId, buyer: &BuyerId) -> bool {
        self.buyers().get(&(sale, buyer.clone())).is_some()
    }

    /// Remembers items that a committed statement saw sold out.
    pub(crate) fn remember_sold_out(
        &self,
        sale: SaleId,
        generation: i64,
        items: impl IntoIterator<Item = ItemNo>,
    ) {
        let mut sales = self.sold_out();
        if sales.len() >= MAX_SALES && !sales.contains_key(&sale) {
            sales.clear();
        }
        let known = sales.entry(sale).or_default();
        if known.generation < generation {
            *known = SoldOut { generation, items: HashSet::new() };
        }
        if known.generation == generation {
            known.items.extend(items);
        }
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
        let sales = self.sold_out();
        let known = sales.get(&sale)?;
        let items = checkouts.iter().flat_map(|checkout| &checkout.lines).map(|line| line.item);
        let sold_out = items.filter(|item| known.items.contains(item)).collect();
        Some(RememberedBatch { checkouts, sold_out, generation: known.generation })
    }

    fn take_checkouts(
        &self,
        sale: SaleId,
        attempts: &[AttemptId],
        lines_each: usize,
    ) -> Option<Vec<OpenCheckout>> {
        let mut checkouts = self.checkouts();
        let mut buyers = HashSet::with_capacity(attempts.len());
        let are_known = attempts.iter().all(|attempt| {
            let known = checkouts.peek(attempt).filter(|known| known.sale == sale);
            known.is_some_and(|known| {
                known.lines.len() <= lines_each && buyers.insert(known.buyer.clone())
            })
        });
        if !are_known {
            return None;
        }
        Some(attempts.iter().filter_map(|attempt| checkouts.pop(attempt)).collect())
    }

    fn checkouts(&self) -> MutexGuard<'_, LruCache<AttemptId, OpenCheckout>> {
        self.checkouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buyers(&self) -> MutexGuard<'_, LruCache<(SaleId, BuyerId), ()>> {
        self.buyers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn purchased(&self) -> MutexGuard<'_, VecDeque<(SaleId, AttemptId)>> {
        self.purchased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sold_out(&self) -> MutexGuard<'_, HashMap<SaleId, SoldOut>> {
        self.sold_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cache that allocates as it fills.
fn bounded<K: std::hash::Hash + Eq, V>() -> Mutex<LruCache<K, V>> {
    let mut cache = LruCache::unbounded();
    cache.resize(MAX_CHECKOUTS);
    Mutex::new(cache)
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

        assert_eq!(recent.checkouts().len(), MAX_CHECKOUTS.get());
        assert!(recent.checkouts().peek(&attempt_id(1)).is_none());
        assert!(
            !recent.knows_buyer(sale_id(1), &buyer("1"))
                && recent.knows_buyer(sale_id(1), &buyer("2"))
        );
        assert_eq!(recent.sold_out().len(), 1);
    }
}
