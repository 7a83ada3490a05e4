//! A sale in a shared memory, and the few words in which the cases say what is remembered.

use std::sync::Arc;

use async_trait::async_trait;

use super::eventually;
use crate::application::ports::{
    Belief, FilterBuilder, Knock, KnownStanding, MemoryReader, SharedMemory, StockFacts,
    StockSnapshot, Totals,
};
use crate::domain::checkout::Standing;
use crate::domain::ids::ItemNo;
use crate::domain::sale::{Sale, SaleWindow};
use crate::testing::builders::{HOUR, a_sale, at, buyer, line};
use crate::testing::fakes::FakeSharedMemory;

/// One shared memory with any number of instances.
#[async_trait]
pub(crate) trait MemoryWorld: Send + Sync {
    /// One more instance.
    fn instance(&self) -> MemoryInstance;

    /// Everything in it is lost.
    async fn lose_everything(&self);
}

/// The ports of one instance.
pub(crate) struct MemoryInstance {
    pub(crate) memory: Arc<dyn SharedMemory>,
    pub(crate) builder: Arc<dyn FilterBuilder>,
    pub(crate) reader: Arc<dyn MemoryReader>,
}

/// A sale until the year 2100, of a hundred items and ten pieces a buyer, as one instance remembers it.
pub(crate) struct Mind {
    pub(crate) sale: Arc<Sale>,
    pub(crate) instance: MemoryInstance,
}

impl Mind {
    pub(crate) fn of(world: &dyn MemoryWorld) -> Self {
        let window = SaleWindow::lasting(at(4_102_444_800), HOUR).unwrap();
        let sale = Arc::new(Sale { items: 100, window, ..a_sale(1) });
        Self { sale, instance: world.instance() }
    }

    pub(crate) async fn believes(&self, who: &str, item: i32, pieces: i32) -> Belief {
        let (sale, buyer) = (Arc::clone(&self.sale), buyer(who));
        let knock = Knock { sale, buyer, line: line(item, pieces) };
        self.instance.memory.believes(knock).await.unwrap()
    }

    pub(crate) fn stands(&self, who: &str, lines: &[(i32, i32)], bought: i32, version: i64) {
        let lines = lines.iter().map(|(item, pieces)| line(*item, *pieces)).collect();
        let standing = Standing { lines, bought };
        let (sale, buyer) = (Arc::clone(&self.sale), buyer(who));
        self.instance.memory.remember_standing(KnownStanding { sale, buyer, standing, version });
    }

    /// Pieces were sold in all of these items, and these are sold out.
    pub(crate) fn sold(&self, sold: &[(i32, i32)], sold_out: &[i32]) {
        self.instance.memory.remember_stock(&self.sale, self.facts(sold, sold_out));
    }

    pub(crate) fn facts(&self, sold: &[(i32, i32)], sold_out: &[i32]) -> StockFacts {
        StockFacts {
            generation: self.sale.generation,
            sold_out: sold_out.iter().copied().map(ItemNo).collect(),
            sold: sold.iter().map(|(item, pieces)| (ItemNo(*item), *pieces)).collect(),
        }
    }

    pub(crate) async fn begin(&self) -> Totals {
        self.instance.builder.begin(&self.sale).await.unwrap()
    }

    pub(crate) async fn publish(&self, totals: Totals, facts: StockFacts, pieces: i64) {
        let stock = StockSnapshot { facts, pieces };
        self.instance.builder.publish(&self.sale, &stock, totals).await.unwrap();
    }

    /// Rebuilds the filter of a sale with more pieces than are ever sold.
    pub(crate) async fn rebuild(&self, sold_out: &[i32]) {
        let totals = self.begin().await;
        self.publish(totals, self.facts(&[], sold_out), 1_000_000).await;
    }

    /// What was remembered here before has arrived: a mark behind it has.
    pub(crate) async fn has_arrived(&self) {
        self.stands("mark", &[], 10, i64::MAX / 2);
        eventually("a mark is remembered", async || {
            matches!(self.believes("mark", 99, 1).await, Belief::OverLimit { .. })
        })
        .await;
    }
}

#[async_trait]
impl MemoryWorld for Arc<FakeSharedMemory> {
    fn instance(&self) -> MemoryInstance {
        MemoryInstance { memory: self.clone(), builder: self.clone(), reader: self.clone() }
    }

    async fn lose_everything(&self) {
        FakeSharedMemory::lose_everything(self);
    }
}
