//! What this instance has written itself, so that it need not read it again: open checkouts as its last write left them, and
//! which items it has seen sold out.
//!
//! Nobody tells it of others' writes. Whoever decides on it must write under conditions that fail where it is not true any
//! more: a buyer's row still has the version it was written with, the sale still has the generation. A version is the moment
//! of its write and is never written twice, not even by a server that was restored and lacks what is remembered here.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};

/// Open checkouts that are remembered, and buyers: those of the last seconds of a rush.
const MAX_CHECKOUTS: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();
/// Sales whose sold-out items are remembered: as many as may be open at a time.
const MAX_SALES: usize = 24;

/// An open checkout and its buyer's row, as they were written here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenCheckout {
    pub(crate) sale: SaleId,
    pub(crate) attempt: AttemptId,
    pub(crate) buyer: BuyerId,
    /// The row's version.
    pub(crate) version: i64,
    /// Pieces bought so far.
    pub(crate) bought: i32,
    /// Most pieces that may be bought.
    pub(crate) limit: i32,
    pub(crate) lines: Vec<Line>,
}

/// All that a batch of purchases is decided on.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// The checkouts, in the order of the attempts that were asked for; no buyer comes twice.
    pub(crate) checkouts: Vec<OpenCheckout>,
    /// Items of theirs that are sold out, in this generation of the sale.
    pub(crate) sold_out: HashSet<ItemNo>,
    pub(crate) generation: i64,
}

/// Remembers within bounds; what was not used for longest goes first.
#[derive(Debug)]
pub(crate) struct OwnWrites {
    checkouts: Mutex<LruCache<AttemptId, OpenCheckout>>,
    buyers: Mutex<LruCache<(SaleId, BuyerId), ()>>,
    sold_out: Mutex<HashMap<SaleId, SoldOut>>,
}

/// Items without a piece left. They stay sold out as long as the generation lasts.
#[derive(Debug, Default)]
struct SoldOut {
    generation: i64,
    items: HashSet<ItemNo>,
}

impl Default for OwnWrites {
    fn default() -> Self {
        Self { checkouts: bounded(), buyers: bounded(), sold_out: Mutex::default() }
    }
}

impl OwnWrites {
    /// These checkouts were written, and committed.
    pub(crate) fn remember(&self, written: impl IntoIterator<Item = OpenCheckout>) {
        let (mut checkouts, mut buyers) = (self.checkouts(), self.buyers());
        for checkout in written {
            buyers.put((checkout.sale, checkout.buyer.clone()), ());
            checkouts.put(checkout.attempt, checkout);
        }
    }

    /// These checkouts are being written by a transaction whose end nobody waits for here.
    pub(crate) fn forget(&self, written: impl IntoIterator<Item = AttemptId>) {
        let mut checkouts = self.checkouts();
        for attempt in written {
            checkouts.pop(&attempt);
        }
    }

    /// These buyers have rows.
    pub(crate) fn meet<'b>(&self, sale: SaleId, met: impl IntoIterator<Item = &'b BuyerId>) {
        let mut buyers = self.buyers();
        for buyer in met {
            buyers.put((sale, buyer.clone()), ());
        }
    }

    /// Whether the buyer is known to have a row.
    pub(crate) fn knows(&self, sale: SaleId, buyer: &BuyerId) -> bool {
        self.buyers().get(&(sale, buyer.clone())).is_some()
    }

    /// A committed statement saw that these items have no piece left.
    pub(crate) fn learn(
        &self,
        sale: SaleId,
        generation: i64,
        gone: impl IntoIterator<Item = ItemNo>,
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
            known.items.extend(gone);
        }
    }

    /// Takes out what is remembered of these attempts, if that is all that a decision needs; each is good for one decision.
    pub(crate) fn take(&self, sale: SaleId, attempts: &[AttemptId]) -> Option<Remembered> {
        let checkouts = self.take_checkouts(sale, attempts)?;
        let sales = self.sold_out();
        let known = sales.get(&sale)?;
        let items = checkouts.iter().flat_map(|checkout| &checkout.lines).map(|line| line.item);
        let sold_out = items.filter(|item| known.items.contains(item)).collect();
        Some(Remembered { checkouts, sold_out, generation: known.generation })
    }

    fn take_checkouts(&self, sale: SaleId, attempts: &[AttemptId]) -> Option<Vec<OpenCheckout>> {
        let mut checkouts = self.checkouts();
        let mut buyers = HashSet::with_capacity(attempts.len());
        let are_known = attempts.iter().all(|attempt| {
            let known = checkouts.peek(attempt).filter(|known| known.sale == sale);
            known.is_some_and(|known| buyers.insert(known.buyer.clone()))
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

    fn sold_out(&self) -> MutexGuard<'_, HashMap<SaleId, SoldOut>> {
        self.sold_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It grows as it is used.
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

    fn with(checkouts: &[OpenCheckout]) -> OwnWrites {
        let own = OwnWrites::default();
        own.remember(checkouts.iter().cloned());
        own.learn(sale_id(1), 7, [ItemNo(2)]);
        own
    }

    #[test]
    fn what_was_written_last_is_taken_once() {
        let (first, later) = (checkout(1, "ann", &[1]), checkout(1, "ann", &[1, 2]));
        let own = with(&[first, checkout(2, "bob", &[3]), later.clone()]);

        let taken = own.take(sale_id(1), &attempts(&[2, 1])).unwrap();

        assert_eq!(taken.checkouts, [checkout(2, "bob", &[3]), later]);
        assert_eq!((taken.sold_out, taken.generation), (HashSet::from([ItemNo(2)]), 7));
        assert!(own.take(sale_id(1), &attempts(&[1])).is_none());
    }

    #[test]
    fn nothing_is_taken_unless_all_of_it_is_known_and_every_buyer_comes_once() {
        let own = with(&[checkout(1, "ann", &[1]), checkout(2, "ann", &[2])]);

        for (sale, asked) in [(1, [1, 3]), (1, [1, 2]), (1, [1, 1]), (2, [1, 1])] {
            assert!(own.take(sale_id(sale), &attempts(&asked)).is_none(), "{sale} {asked:?}");
        }
        assert!(own.take(sale_id(1), &attempts(&[1])).is_some());
    }

    #[test]
    fn nothing_is_taken_of_a_sale_of_which_nothing_was_read() {
        let own = OwnWrites::default();
        own.remember([checkout(1, "ann", &[1])]);

        assert!(own.take(sale_id(1), &attempts(&[1])).is_none());
    }

    #[test]
    fn what_is_sold_out_belongs_to_its_generation() {
        let own = with(&[checkout(1, "ann", &[1, 2, 3])]);

        own.learn(sale_id(1), 8, [ItemNo(3)]);
        own.learn(sale_id(1), 7, [ItemNo(1)]);

        let taken = own.take(sale_id(1), &attempts(&[1])).unwrap();
        assert_eq!((taken.sold_out, taken.generation), (HashSet::from([ItemNo(3)]), 8));
    }

    #[test]
    fn it_keeps_to_its_bounds() {
        let own = OwnWrites::default();
        let many = i64::try_from(MAX_CHECKOUTS.get()).unwrap() + 1;
        own.remember((1..=many).map(|number| checkout(number, &number.to_string(), &[1])));
        for sale in 1..=i64::try_from(MAX_SALES).unwrap() + 1 {
            own.learn(sale_id(sale), 1, []);
        }

        assert_eq!(own.checkouts().len(), MAX_CHECKOUTS.get());
        assert!(own.checkouts().peek(&attempt_id(1)).is_none());
        assert!(!own.knows(sale_id(1), &buyer("1")) && own.knows(sale_id(1), &buyer("2")));
        assert_eq!(own.sold_out().len(), 1);
    }
}
