//! A sale in a hint cache, and short forms of the calls that the cases make.

use std::sync::Arc;

use async_trait::async_trait;

use super::eventually::eventually;
use crate::application::ports::{
    CommittedTotals, FilterBuilder, Hint, HintCache, HintReader, ItemTotals, PrecheckRequest,
    StockFacts, StockSnapshot,
};
use crate::domain::checkout::BuyerTotals;
use crate::domain::ids::ItemNo;
use crate::domain::sale::{Sale, SaleWindow};
use crate::testing::builders::{HOUR, a_sale, at, buyer, line};
use crate::testing::fakes::FakeHintCache;

/// One hint cache with any number of instances.
#[async_trait]
pub(crate) trait HintCacheWorld: Send + Sync {
    /// One more instance.
    fn instance(&self) -> HintCacheInstance;

    /// Deletes everything in it.
    async fn clear(&self);
}

/// The ports of one instance.
pub(crate) struct HintCacheInstance {
    pub(crate) hints: Arc<dyn HintCache>,
    pub(crate) builder: Arc<dyn FilterBuilder>,
    pub(crate) reader: Arc<dyn HintReader>,
}

/// A sale in the year 2100 with a hundred items and ten pieces a buyer, at one instance.
pub(crate) struct HintCacheFixture {
    pub(crate) sale: Arc<Sale>,
    pub(crate) instance: HintCacheInstance,
}

impl HintCacheFixture {
    pub(crate) fn of(world: &dyn HintCacheWorld) -> Self {
        let window = SaleWindow::lasting(at(4_102_444_800), HOUR).unwrap();
        let sale = Arc::new(Sale { items: 100, window, ..a_sale(1) });
        Self { sale, instance: world.instance() }
    }

    pub(crate) async fn precheck(&self, who: &str, item: i32, pieces: i32) -> Hint {
        let (sale, buyer) = (Arc::clone(&self.sale), buyer(who));
        let request = PrecheckRequest { sale, buyer, line: line(item, pieces) };
        self.instance.hints.precheck(request).await.unwrap()
    }

    pub(crate) fn update_totals(&self, who: &str, lines: &[(i32, i32)], bought: i32, version: i64) {
        let lines = lines.iter().map(|(item, pieces)| line(*item, *pieces)).collect();
        let totals = BuyerTotals { lines, bought };
        let (sale, buyer) = (Arc::clone(&self.sale), buyer(who));
        self.instance.hints.update_totals(CommittedTotals { sale, buyer, totals, version });
    }

    /// Writes the pieces sold of items, and which items are sold out.
    pub(crate) fn update_stock(&self, sold: &[(i32, i32)], sold_out: &[i32]) {
        self.instance.hints.update_stock(&self.sale, self.facts(sold, sold_out));
    }

    pub(crate) fn facts(&self, sold: &[(i32, i32)], sold_out: &[i32]) -> StockFacts {
        StockFacts {
            generation: self.sale.generation,
            sold_out: sold_out.iter().copied().map(ItemNo).collect(),
            sold: sold.iter().map(|(item, pieces)| (ItemNo(*item), *pieces)).collect(),
        }
    }

    pub(crate) async fn begin(&self) -> ItemTotals {
        self.instance.builder.begin(&self.sale).await.unwrap()
    }

    pub(crate) async fn publish(&self, totals: ItemTotals, facts: StockFacts, pieces: i64) {
        let stock = StockSnapshot { facts, pieces };
        self.instance.builder.publish(&self.sale, &stock, totals).await.unwrap();
    }

    /// Rebuilds the filter of a sale that has more pieces than the cases sell.
    pub(crate) async fn rebuild(&self, sold_out: &[i32]) {
        let totals = self.begin().await;
        self.publish(totals, self.facts(&[], sold_out), 1_000_000).await;
    }

    /// Waits until earlier updates are written: the totals of a buyer named "mark" are written after them.
    pub(crate) async fn wait_until_written(&self) {
        self.update_totals("mark", &[], 10, i64::MAX / 2);
        eventually("the totals of mark are written", async || {
            matches!(self.precheck("mark", 99, 1).await, Hint::OverLimit { .. })
        })
        .await;
    }
}

#[async_trait]
impl HintCacheWorld for Arc<FakeHintCache> {
    fn instance(&self) -> HintCacheInstance {
        HintCacheInstance { hints: self.clone(), builder: self.clone(), reader: self.clone() }
    }

    async fn clear(&self) {
        FakeHintCache::clear(self);
    }
}
