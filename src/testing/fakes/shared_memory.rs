//! Shared memory that is told at once: exact sets in the place of bits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::application::ports::{
    Belief, FilterBuilder, Knock, KnownStanding, MemoryReader, PortError, Remembered, SharedMemory,
    StockFacts, StockSnapshot, Totals,
};
use crate::domain::ids::{BuyerId, ItemNo, SaleId};
use crate::domain::sale::Sale;

/// What is remembered of all sales.
#[derive(Default)]
pub(crate) struct FakeSharedMemory {
    sales: Mutex<HashMap<SaleId, Memory>>,
}

#[derive(Default)]
struct Memory {
    standings: HashMap<BuyerId, KnownStanding>,
    /// Pieces sold by item, of each generation of the sale.
    sold: HashMap<i64, HashMap<ItemNo, i32>>,
    /// Pieces of the sale, once the totals of a generation are complete.
    stock: HashMap<i64, i64>,
    filter: Option<HashSet<ItemNo>>,
    building: Option<HashSet<ItemNo>>,
}

impl FakeSharedMemory {
    /// Everything is lost.
    pub(crate) fn lose_everything(&self) {
        self.sales.lock().unwrap().clear();
    }
}

impl Memory {
    fn all_sold(&self, generation: i64) -> bool {
        let sold = self.sold.get(&generation).map_or(0, |sold| sold.values().sum::<i32>());
        self.stock.get(&generation).is_some_and(|stock| i64::from(sold) >= *stock)
    }

    /// The version of the standing that is in the way.
    fn over_limit(&self, knock: &Knock) -> Option<i64> {
        let known = self.standings.get(&knock.buyer)?;
        let over = known.standing.clone().collect(&[knock.line], knock.sale.buyer_limit).is_err();
        over.then_some(known.version)
    }
}

#[async_trait]
impl SharedMemory for FakeSharedMemory {
    async fn believes(&self, knock: Knock) -> Result<Belief, PortError> {
        let mut sales = self.sales.lock().unwrap();
        let memory = sales.entry(knock.sale.id).or_default();
        Ok(match &memory.filter {
            _ if memory.all_sold(knock.sale.generation) => Belief::SaleSoldOut,
            Some(filter) if filter.contains(&knock.line.item) => Belief::ItemInFilter,
            _ if let Some(version) = memory.over_limit(&knock) => Belief::OverLimit { version },
            None => Belief::Cold,
            Some(_) => Belief::Fine,
        })
    }

    fn remember_standing(&self, known: KnownStanding) {
        let mut sales = self.sales.lock().unwrap();
        let standings = &mut sales.entry(known.sale.id).or_default().standings;
        if standings.get(&known.buyer).is_none_or(|old| old.version < known.version) {
            standings.insert(known.buyer.clone(), known);
        }
    }

    fn remember_stock(&self, sale: &Arc<Sale>, facts: StockFacts) {
        if facts.generation != sale.generation {
            return;
        }
        let mut sales = self.sales.lock().unwrap();
        let memory = sales.entry(sale.id).or_default();
        let sold = memory.sold.entry(sale.generation).or_default();
        for (item, pieces) in facts.sold {
            let known = sold.entry(item).or_default();
            *known = pieces.max(*known);
        }
        for filter in [&mut memory.filter, &mut memory.building].into_iter().flatten() {
            filter.extend(facts.sold_out.iter().copied());
        }
    }
}

#[async_trait]
impl FilterBuilder for FakeSharedMemory {
    async fn begin(&self, sale: &Sale) -> Result<Totals, PortError> {
        let mut sales = self.sales.lock().unwrap();
        let memory = sales.entry(sale.id).or_default();
        memory.building = Some(HashSet::new());
        let is_known = memory.stock.contains_key(&sale.generation);
        Ok(if is_known { Totals::Known } else { Totals::Missing })
    }

    async fn publish(
        &self,
        sale: &Sale,
        stock: &StockSnapshot,
        totals: Totals,
    ) -> Result<(), PortError> {
        if totals == Totals::Missing {
            let facts = StockFacts { sold_out: Vec::new(), ..stock.facts.clone() };
            self.remember_stock(&Arc::new(sale.clone()), facts);
        }
        let mut sales = self.sales.lock().unwrap();
        let memory = sales.entry(sale.id).or_default();
        // Without a rebuild that was begun there is nothing to publish: another one has superseded it.
        if let Some(mut filter) = memory.building.take() {
            filter.extend(stock.facts.sold_out.iter().copied());
            memory.filter = Some(filter);
            memory.stock.insert(sale.generation, stock.pieces);
        }
        Ok(())
    }
}

#[async_trait]
impl MemoryReader for FakeSharedMemory {
    async fn remembered(&self, sale: SaleId) -> Result<Vec<Remembered>, PortError> {
        let sales = self.sales.lock().unwrap();
        let standings = sales.get(&sale).into_iter().flat_map(|memory| &memory.standings);
        let pieces = standings.map(|(buyer, known)| {
            let standing = &known.standing;
            let pieces = i64::from(standing.collected() + standing.bought);
            Remembered { buyer: buyer.clone(), version: known.version, pieces }
        });
        Ok(pieces.collect())
    }
}
