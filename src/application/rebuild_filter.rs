//! Rebuild the filter: rebuild the shared filter of sold-out items from PostgreSQL.
//!
//! A filter only grows, so a restocked item would stay in it, and after a loss of Redis's data there is no filter. One
//! instance rebuilds it for all. The rebuild is announced before the stock is read: the instance that sells an item out
//! after the reading adds it to the new filter.
//!
//! A sale is rebuilt only if this instance knows of something that its filter was not built from: its stock is large, and most
//! of the time nothing has changed.

use std::sync::Arc;
use std::time::Duration;

use super::ports::{FilterBuilder, ItemReader, Leadership, PortError};
use super::sale_cache::{CachedSale, SaleCache};
use crate::domain::ids::SaleId;

/// The result of a rebuild that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuilt {
    /// So many filters are new.
    Sales(usize),
    /// This sale is not open, so it has no filter.
    NotOpen(SaleId),
}

/// Rebuilds the filters of open sales.
pub struct RebuildFilter {
    sale_cache: Arc<SaleCache>,
    items: Arc<dyn ItemReader>,
    filter: Arc<dyn FilterBuilder>,
    leadership: Arc<dyn Leadership>,
    interval: Duration,
}

impl RebuildFilter {
    /// `interval` is the time between two calls of [`Self::execute`].
    #[must_use]
    pub fn new(
        sale_cache: Arc<SaleCache>,
        items: Arc<dyn ItemReader>,
        filter: Arc<dyn FilterBuilder>,
        leadership: Arc<dyn Leadership>,
        interval: Duration,
    ) -> Self {
        Self { sale_cache, items, filter, leadership, interval }
    }

    /// Rebuilds what has changed, unless another instance leads. The stock is applied to this instance's sale cache too.
    pub async fn execute(&self) -> Result<(), PortError> {
        // The leader renews its term in time, and a crashed leader is replaced after two intervals.
        if !self.leadership.lead("filter", self.interval * 2).await? {
            return Ok(());
        }
        for cached in self.sale_cache.open() {
            if !self.has_changed(&cached).await? {
                continue;
            }
            self.rebuild(&cached).await?;
        }
        Ok(())
    }

    /// Rebuilds the filter of an open sale, or of all, whether anything has changed or not, on any instance: an operator wants it.
    pub async fn now(&self, sale: Option<SaleId>) -> Result<Rebuilt, PortError> {
        self.sale_cache.refresh().await?;
        let mut rebuilt = 0;
        for cached in self.sale_cache.open() {
            if sale.is_none_or(|sale| sale == cached.sale.id) {
                self.rebuild(&cached).await?;
                rebuilt += 1;
            }
        }
        Ok(match sale {
            Some(sale) if rebuilt == 0 => Rebuilt::NotOpen(sale),
            _ => Rebuilt::Sales(rebuilt),
        })
    }

    async fn rebuild(&self, cached: &CachedSale) -> Result<(), PortError> {
        let totals = self.filter.begin(&cached.sale).await?;
        let stock = self.items.stock(cached.sale.id).await?;
        cached.apply_stock(&stock.facts);
        self.filter.publish(&cached.sale, &stock, totals).await
    }

    /// Whether the sale's filter is missing, or was built from another stock than this instance knows.
    async fn has_changed(&self, cached: &CachedSale) -> Result<bool, PortError> {
        let known = cached.sold_out_items();
        Ok(self.filter.built_from(&cached.sale).await?.is_none_or(|built| {
            let is_other = if cached.is_warm() {
                known != built.sold_out
            } else {
                // The instance has not read the stock, so it may know less than the filter.
                known > built.sold_out
            };
            is_other || built.generation != cached.sale.generation
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mockall::Sequence;

    use super::*;
    use crate::application::ports::{
        Hint, HintCache, ItemTotals, MockFilterBuilder, MockItemReader, MockLeadership,
        PrecheckRequest, StockSnapshot,
    };
    use crate::domain::ids::ItemNo;
    use crate::domain::sale::Sale;
    use crate::testing::builders::{buyer, line, sold_out, unavailable};
    use crate::testing::fakes::FakeLeaderships;
    use crate::testing::test_shop::{CACHE_LIMITS, TestShop};

    const INTERVAL: Duration = Duration::from_secs(10);

    fn rebuild(test_shop: &TestShop, leadership: Arc<dyn Leadership>) -> RebuildFilter {
        let (sale_cache, items) = (test_shop.sale_cache(), test_shop.shop());
        RebuildFilter::new(sale_cache, items, test_shop.hints(), leadership, INTERVAL)
    }

    fn leader(test_shop: &TestShop) -> Arc<dyn Leadership> {
        FakeLeaderships::new(test_shop.clock()).instance(1)
    }

    async fn hint(test_shop: &TestShop, sale: &Sale, item: i32) -> Hint {
        let sale = Arc::new(sale.clone());
        test_shop
            .hints
            .precheck(PrecheckRequest { sale, buyer: buyer("ann"), line: line(item, 1) })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn afterwards_the_hint_cache_and_the_sale_cache_know_the_sold_out_items() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(3, 1).await;
        test_shop.bought(&sale, "bob", &[2]).await;
        let leader = leader(&test_shop);

        rebuild(&test_shop, leader).execute().await.unwrap();

        let hints = (hint(&test_shop, &sale, 1).await, hint(&test_shop, &sale, 2).await);
        assert_eq!(hints, (Hint::Clear, Hint::ItemInFilter));
        let cached = test_shop.sale_cache.find(sale.id).await.unwrap().unwrap();
        assert!(cached.is_sold_out(ItemNo(2)));
    }

    #[tokio::test]
    async fn a_restocked_item_is_not_in_the_next_filter() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(3, 1).await;
        test_shop.bought(&sale, "bob", &[2]).await;
        let leader = leader(&test_shop);
        let rebuild = rebuild(&test_shop, leader);
        rebuild.execute().await.unwrap();
        test_shop.shop.set_stock(sale.id, ItemNo(2), 2);
        test_shop.sale_cache.refresh().await.unwrap();

        rebuild.execute().await.unwrap();

        assert_eq!(hint(&test_shop, &sale, 2).await, Hint::Clear);
    }

    #[tokio::test]
    async fn an_operator_gets_a_new_filter_of_an_open_sale_from_any_instance() {
        let test_shop = TestShop::open();
        let (sale, other) = (test_shop.sale(2, 1).await, test_shop.sale(2, 1).await);
        for sale in [&sale, &other] {
            test_shop.bought(sale, "bob", &[1, 2]).await;
        }
        let leadership = MockLeadership::new();
        let rebuild = rebuild(&test_shop, Arc::new(leadership));

        let one = rebuild.now(Some(sale.id)).await.unwrap();
        let hints = (hint(&test_shop, &sale, 1).await, hint(&test_shop, &other, 1).await);
        let all = rebuild.now(None).await.unwrap();
        let nowhere = SaleId::new(99).unwrap();

        assert_eq!((one, all), (Rebuilt::Sales(1), Rebuilt::Sales(2)));
        assert_eq!(hints.0, Hint::SaleSoldOut);
        assert_ne!(hints.1, Hint::SaleSoldOut);
        assert_eq!(rebuild.now(Some(nowhere)).await.unwrap(), Rebuilt::NotOpen(nowhere));
    }

    #[tokio::test]
    async fn after_a_loss_of_all_hints_a_rebuild_restores_them() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(2, 1).await;
        test_shop.bought(&sale, "bob", &[1, 2]).await;
        let leader = leader(&test_shop);
        let rebuild = rebuild(&test_shop, leader);
        rebuild.execute().await.unwrap();
        test_shop.hints.clear();

        rebuild.execute().await.unwrap();

        assert_eq!(hint(&test_shop, &sale, 1).await, Hint::SaleSoldOut);
    }

    /// A rebuild that counts how often it reads a stock.
    fn counted(test_shop: &TestShop) -> (RebuildFilter, Arc<AtomicUsize>) {
        let (shop, reads) = (test_shop.shop(), Arc::<AtomicUsize>::default());
        let (counter, mut items) = (Arc::clone(&reads), MockItemReader::new());
        items.expect_stock().returning(move |sale| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(shop.stock_of(sale))
        });
        let (sale_cache, hints) = (test_shop.sale_cache(), test_shop.hints());
        let leader = leader(test_shop);
        (RebuildFilter::new(sale_cache, Arc::new(items), hints, leader, INTERVAL), reads)
    }

    #[tokio::test]
    async fn while_nothing_changes_no_stock_is_read_again() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(3, 1).await;
        test_shop.sale(3, 1).await;
        test_shop.bought(&sale, "bob", &[2]).await;
        let (rebuild, reads) = counted(&test_shop);

        for _ in 0..5 {
            rebuild.execute().await.unwrap();
            test_shop.sale_cache.warm().await.unwrap();
        }

        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn each_change_is_a_reason_for_one_rebuild_of_its_sale() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(5, 1).await;
        test_shop.sale(3, 1).await;
        let (rebuild, reads) = counted(&test_shop);
        let rebuilds = async || {
            let before = reads.load(Ordering::Relaxed);
            for _ in 0..3 {
                rebuild.execute().await.unwrap();
            }
            reads.load(Ordering::Relaxed) - before
        };
        rebuilds().await;

        test_shop.bought(&sale, "bob", &[2]).await;
        test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, &[2]));
        let sold_out = rebuilds().await;
        test_shop.shop.set_stock(sale.id, ItemNo(2), 2);
        test_shop.sale_cache.refresh().await.unwrap();
        let restocked = rebuilds().await;
        test_shop.hints.clear();
        let lost = rebuilds().await;

        assert_eq!((sold_out, restocked, lost), (1, 1, 2));
    }

    #[tokio::test]
    async fn a_new_leader_that_knows_less_leaves_the_filter() {
        let test_shop = TestShop::open();
        let sale = test_shop.sale(5, 1).await;
        test_shop.bought(&sale, "bob", &[2]).await;
        let (rebuild, _) = counted(&test_shop);
        rebuild.execute().await.unwrap();
        let (shop, clock) = (test_shop.shop(), test_shop.clock());
        let fresh = SaleCache::new(shop, test_shop.shop(), clock, CACHE_LIMITS);
        fresh.refresh().await.unwrap();
        let (leader, untouched) = (leader(&test_shop), Arc::new(MockItemReader::new()));

        let (cache, hints) = (Arc::new(fresh), test_shop.hints());
        let next = RebuildFilter::new(cache, untouched, hints, leader, INTERVAL);

        next.execute().await.unwrap();
    }

    #[tokio::test]
    async fn an_instance_that_does_not_lead_does_nothing() {
        let test_shop = TestShop::open();
        test_shop.sale(2, 1).await;
        let mut follower = MockLeadership::new();
        follower.expect_lead().returning(|_, _| Ok(false));
        let untouched = Arc::new(MockFilterBuilder::new());
        let (sale_cache, items) = (test_shop.sale_cache(), test_shop.shop());

        let idle = RebuildFilter::new(sale_cache, items, untouched, Arc::new(follower), INTERVAL);

        idle.execute().await.unwrap();
    }

    #[tokio::test]
    async fn the_rebuild_is_announced_before_the_stock_is_read() {
        let test_shop = TestShop::open();
        test_shop.sale(2, 1).await;
        let mut order = Sequence::new();
        let (mut filter, mut items) = (MockFilterBuilder::new(), MockItemReader::new());
        filter.expect_built_from().returning(|_| Ok(None));
        let begin = filter.expect_begin().once().in_sequence(&mut order);
        begin.returning(|_| Ok(ItemTotals::Missing));
        items
            .expect_stock()
            .once()
            .in_sequence(&mut order)
            .returning(|_| Ok(StockSnapshot::default()));
        filter.expect_publish().once().in_sequence(&mut order).returning(|_, _, _| Ok(()));
        let leader = leader(&test_shop);

        let sale_cache = test_shop.sale_cache();
        let rebuild =
            RebuildFilter::new(sale_cache, Arc::new(items), Arc::new(filter), leader, INTERVAL);

        rebuild.execute().await.unwrap();
    }

    #[tokio::test]
    async fn each_failing_port_is_an_error() {
        let test_shop = TestShop::open();
        test_shop.sale(2, 1).await;
        let mut no_leadership = MockLeadership::new();
        no_leadership.expect_lead().returning(|_, _| Err(unavailable()));
        let mut no_filter = MockFilterBuilder::new();
        no_filter.expect_built_from().returning(|_| Err(unavailable()));
        let mut no_items = MockItemReader::new();
        no_items.expect_stock().returning(|_| Err(unavailable()));
        let leader = leader(&test_shop);
        let sale_cache = || test_shop.sale_cache();

        let failing = [
            rebuild(&test_shop, Arc::new(no_leadership)),
            RebuildFilter::new(
                sale_cache(),
                test_shop.shop(),
                Arc::new(no_filter),
                Arc::clone(&leader),
                INTERVAL,
            ),
            RebuildFilter::new(
                sale_cache(),
                Arc::new(no_items),
                test_shop.hints(),
                leader,
                INTERVAL,
            ),
        ];

        for rebuild in failing {
            assert!(rebuild.execute().await.is_err());
        }
    }
}
