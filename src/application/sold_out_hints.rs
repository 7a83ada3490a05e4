//! Sold-out hints: what other instances announce as sold out, confirmed in PostgreSQL before this instance believes it.
//!
//! Any client of Redis can publish, such as another installation on the same server. So an event is a hint: one read for all
//! events that wait returns which of their items are sold out. The same holds for a sale that is announced as changed, because pieces of
//! it are on sale again: it is read at once, and its generation tells.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::ports::{BusinessMetrics, ItemReader, PortError, SoldOutEvent, SoldOutHint};
use super::sale_cache::SaleCache;
use crate::domain::ids::{ItemNo, SaleId};

/// Maximum number of items that wait for their confirmation; requests for further ones reach PostgreSQL instead.
pub const MAX_SOLD_OUT_HINTS: usize = 10_000;

/// Confirms events.
pub struct SoldOutHints {
    sale_cache: Arc<SaleCache>,
    items: Arc<dyn ItemReader>,
    metrics: Arc<dyn BusinessMetrics>,
    waiting: Mutex<HashMap<SaleId, BTreeSet<ItemNo>>>,
    /// Sales that were announced as changed; only those in memory, whose number is bounded.
    changed: Mutex<BTreeSet<SaleId>>,
    arrived: Notify,
    has_changed: Notify,
}

impl SoldOutHints {
    /// Applies to `sale_cache` what `items` confirms.
    #[must_use]
    pub fn new(
        sale_cache: Arc<SaleCache>,
        items: Arc<dyn ItemReader>,
        metrics: Arc<dyn BusinessMetrics>,
    ) -> Self {
        Self {
            sale_cache,
            items,
            metrics,
            waiting: Mutex::default(),
            changed: Mutex::default(),
            arrived: Notify::new(),
            has_changed: Notify::new(),
        }
    }

    /// Takes an event.
    pub fn receive(&self, event: SoldOutEvent) {
        match event {
            SoldOutEvent::Own { sale, items } => self.queue(sale, items),
            SoldOutEvent::Changed(sale) => self.queue_changed(sale),
            SoldOutEvent::Foreign => self.metrics.sold_out_hints(SoldOutHint::Foreign, 1),
            SoldOutEvent::Unreadable => self.metrics.sold_out_hints(SoldOutHint::Unreadable, 1),
        }
    }

    fn queue_changed(&self, sale: SaleId) {
        if self.sale_cache.has_cached(sale) {
            self.changed().insert(sale);
            self.has_changed.notify_one();
        }
    }

    fn queue(&self, sale: SaleId, mut items: Vec<ItemNo>) {
        let received = items.len();
        // A sale that is not in memory is read when it is asked for.
        if let Some(cached) = self.sale_cache.find_cached(sale) {
            items.retain(|item| cached.has_item(*item) && !cached.is_sold_out(*item));
        } else {
            items.clear();
        }
        self.metrics.sold_out_hints(SoldOutHint::Known, received - items.len());
        if items.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.values().map(BTreeSet::len).sum::<usize>() + items.len() > MAX_SOLD_OUT_HINTS {
            self.metrics.sold_out_hints(SoldOutHint::Dropped, items.len());
            return;
        }
        waiting.entry(sale).or_default().extend(items);
        self.arrived.notify_one();
    }

    /// Returns when hints wait.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Returns when sales were announced as changed.
    pub async fn has_changed(&self) {
        self.has_changed.notified().await;
    }

    /// Reads in PostgreSQL the sales that were announced as changed, all in one read. After an error they are read at the next poll.
    pub async fn read_changed(&self) -> Result<(), PortError> {
        let changed: Vec<SaleId> = std::mem::take(&mut *self.changed()).into_iter().collect();
        if changed.is_empty() { Ok(()) } else { self.sale_cache.read_again(&changed).await }
    }

    /// Reads in PostgreSQL what is sold out of all that waits. After an error the hints are lost: requests for sold-out items reach
    /// PostgreSQL.
    pub async fn confirm(&self) -> Result<(), PortError> {
        let waiting = std::mem::take(&mut *self.waiting());
        for (sale, items) in waiting {
            // Found before the read: a cached sale that the read cannot be older than.
            let Some(cached) = self.sale_cache.find_cached(sale) else { continue };
            let items: Vec<ItemNo> = items.into_iter().collect();
            let facts = self.items.sold_out_among(sale, &items).await?;
            let confirmed = facts.sold_out.len();
            self.metrics.sold_out_hints(SoldOutHint::Confirmed, confirmed);
            self.metrics
                .sold_out_hints(SoldOutHint::Refuted, items.len().saturating_sub(confirmed));
            cached.apply_stock(&facts);
        }
        Ok(())
    }

    fn changed(&self) -> MutexGuard<'_, BTreeSet<SaleId>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<SaleId, BTreeSet<ItemNo>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fakes::{Counted, FakeBusinessMetrics};
    use crate::testing::test_shop::TestShop;

    fn hints(test_shop: &TestShop) -> SoldOutHints {
        let metrics = Arc::<FakeBusinessMetrics>::clone(&test_shop.business_metrics);
        SoldOutHints::new(test_shop.sale_cache(), test_shop.shop(), metrics)
    }

    fn event(sale: SaleId, items: &[i32]) -> SoldOutEvent {
        SoldOutEvent::Own { sale, items: items.iter().copied().map(ItemNo).collect() }
    }

    #[tokio::test]
    async fn an_event_refuses_nothing_that_postgresql_holds_as_unsold() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(3, 1).await;
        let hints = hints(&test_shop);
        test_shop.bought(&sale, "ann", &[2]).await;
        let cached = test_shop.sale_cache.find(sale.id).await.unwrap().unwrap();

        hints.receive(event(sale.id, &[1, 2, 3, 99]));
        assert!(!cached.is_sold_out(ItemNo(2)));
        hints.confirm().await.unwrap();

        let sold_out = [1, 2, 3].map(|item| cached.is_sold_out(ItemNo(item)));
        assert_eq!(sold_out, [false, true, false]);
        let counted =
            |hint, items| test_shop.business_metrics.count(Counted::SoldOutHints(hint, items));
        // The last of the four is no item of the sale.
        assert_eq!(counted(SoldOutHint::Known, 1), 1);
        assert_eq!((counted(SoldOutHint::Confirmed, 1), counted(SoldOutHint::Refuted, 2)), (1, 1));
    }

    #[tokio::test]
    async fn an_item_of_a_sale_that_is_announced_as_changed_is_sold_again_at_once() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(3, 1).await;
        let hints = hints(&test_shop);
        test_shop.bought(&sale, "ann", &[2]).await;
        hints.receive(event(sale.id, &[2]));
        hints.confirm().await.unwrap();
        let is_sold_out = async || {
            let cached = test_shop.sale_cache.find(sale.id).await.unwrap().unwrap();
            cached.is_sold_out(ItemNo(2))
        };
        assert!(is_sold_out().await);

        hints.receive(SoldOutEvent::Changed(sale.id));
        hints.read_changed().await.unwrap();
        let believed = is_sold_out().await;
        test_shop.shop.set_stock(sale.id, ItemNo(2), 2);
        hints.receive(SoldOutEvent::Changed(sale.id));
        hints.read_changed().await.unwrap();

        assert!(believed, "the sale had not changed");
        assert!(!is_sold_out().await);
    }

    #[tokio::test]
    async fn news_of_a_sale_that_is_not_in_memory_reads_nothing() {
        let test_shop = TestShop::open();
        let hints = hints(&test_shop);

        hints.receive(SoldOutEvent::Changed(SaleId::new(99).unwrap()));

        assert!(hints.changed().is_empty());
    }

    #[tokio::test]
    async fn the_number_of_waiting_hints_is_bounded() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(20_000, 1).await;
        let hints = hints(&test_shop);
        test_shop.sale_cache.find(sale.id).await.unwrap();

        hints.receive(event(sale.id, &(1..=10_000).collect::<Vec<_>>()));
        hints.receive(event(sale.id, &[10_001]));

        let dropped = Counted::SoldOutHints(SoldOutHint::Dropped, 1);
        assert_eq!(test_shop.business_metrics.count(dropped), 1);
    }
}
