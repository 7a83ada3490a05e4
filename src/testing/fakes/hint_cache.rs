//! A hint cache that applies updates at once and has exact sets instead of a Bloom filter.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::application::ports::{
    BuiltFrom, CachedTotals, CommittedTotals, FilterBuilder, Hint, HintCache, HintReader,
    ItemTotals, PortError, PrecheckRequest, StockFacts, StockSnapshot,
};
use crate::domain::ids::{BuyerId, ItemNo, SaleId};
use crate::domain::sale::Sale;

/// The hints of all sales.
#[derive(Default)]
pub(crate) struct FakeHintCache {
    sales: Mutex<HashMap<SaleId, SaleHints>>,
}

#[derive(Default)]
struct SaleHints {
    buyer_totals: HashMap<BuyerId, CommittedTotals>,
    /// Pieces sold by item, for each generation of the sale.
    sold: HashMap<i64, HashMap<ItemNo, i32>>,
    /// Pieces of the sale for each generation whose totals are complete.
    stock: HashMap<i64, i64>,
    filter: Option<HashSet<ItemNo>>,
    building: Option<HashSet<ItemNo>>,
    built_from: Option<BuiltFrom>,
}

impl FakeHintCache {
    /// Loses everything.
    pub(crate) fn clear(&self) {
        self.sales.lock().unwrap().clear();
    }
}

impl SaleHints {
    fn all_sold(&self, generation: i64) -> bool {
        let sold = self.sold.get(&generation).map_or(0, |sold| sold.values().sum::<i32>());
        self.stock.get(&generation).is_some_and(|stock| i64::from(sold) >= *stock)
    }

    /// The version of the totals that leave no room for the request.
    fn over_limit(&self, request: &PrecheckRequest) -> Option<i64> {
        let known = self.buyer_totals.get(&request.buyer)?;
        let over = known.totals.clone().collect(&[request.line], request.sale.buyer_limit).is_err();
        over.then_some(known.version)
    }
}

#[async_trait]
impl HintCache for FakeHintCache {
    async fn precheck(&self, request: PrecheckRequest) -> Result<Hint, PortError> {
        let mut sales = self.sales.lock().unwrap();
        let hints = sales.entry(request.sale.id).or_default();
        Ok(match &hints.filter {
            _ if hints.all_sold(request.sale.generation) => Hint::SaleSoldOut,
            Some(filter) if filter.contains(&request.line.item) => Hint::ItemInFilter,
            _ if let Some(version) = hints.over_limit(&request) => Hint::OverLimit { version },
            None => Hint::Cold,
            Some(_) => Hint::Clear,
        })
    }

    fn update_totals(&self, known: CommittedTotals) {
        let mut sales = self.sales.lock().unwrap();
        let buyer_totals = &mut sales.entry(known.sale.id).or_default().buyer_totals;
        if buyer_totals.get(&known.buyer).is_none_or(|old| old.version < known.version) {
            buyer_totals.insert(known.buyer.clone(), known);
        }
    }

    fn update_stock(&self, sale: &Arc<Sale>, facts: StockFacts) {
        if facts.generation != sale.generation {
            return;
        }
        let mut sales = self.sales.lock().unwrap();
        let hints = sales.entry(sale.id).or_default();
        let sold = hints.sold.entry(sale.generation).or_default();
        for (item, pieces) in facts.sold {
            let known = sold.entry(item).or_default();
            *known = pieces.max(*known);
        }
        for filter in [&mut hints.filter, &mut hints.building].into_iter().flatten() {
            filter.extend(facts.sold_out.iter().copied());
        }
    }
}

#[async_trait]
impl FilterBuilder for FakeHintCache {
    async fn built_from(&self, sale: &Sale) -> Result<Option<BuiltFrom>, PortError> {
        let sales = self.sales.lock().unwrap();
        let hints = sales.get(&sale.id);
        let complete = hints.filter(|hints| hints.stock.contains_key(&sale.generation));
        Ok(complete.and_then(|hints| hints.built_from))
    }

    async fn begin(&self, sale: &Sale) -> Result<ItemTotals, PortError> {
        let mut sales = self.sales.lock().unwrap();
        let hints = sales.entry(sale.id).or_default();
        hints.building = Some(HashSet::new());
        let is_known = hints.stock.contains_key(&sale.generation);
        Ok(if is_known { ItemTotals::Known } else { ItemTotals::Missing })
    }

    async fn publish(
        &self,
        sale: &Sale,
        stock: &StockSnapshot,
        totals: ItemTotals,
    ) -> Result<(), PortError> {
        if totals == ItemTotals::Missing {
            let facts = StockFacts { sold_out: Vec::new(), ..stock.facts.clone() };
            self.update_stock(&Arc::new(sale.clone()), facts);
        }
        let mut sales = self.sales.lock().unwrap();
        let hints = sales.entry(sale.id).or_default();
        // Another rebuild that was published meanwhile has superseded this one.
        if let Some(mut filter) = hints.building.take() {
            filter.extend(stock.facts.sold_out.iter().copied());
            hints.filter = Some(filter);
            hints.built_from = Some(BuiltFrom::of(stock));
            hints.stock.insert(sale.generation, stock.pieces);
        }
        Ok(())
    }
}

#[async_trait]
impl HintReader for FakeHintCache {
    async fn cached_totals(&self, sale: SaleId) -> Result<Vec<CachedTotals>, PortError> {
        let sales = self.sales.lock().unwrap();
        let buyer_totals = sales.get(&sale).into_iter().flat_map(|hints| &hints.buyer_totals);
        let pieces = buyer_totals.map(|(buyer, known)| {
            let totals = &known.totals;
            let pieces = i64::from(totals.collected() + totals.bought);
            CachedTotals { buyer: buyer.clone(), version: known.version, pieces }
        });
        Ok(pieces.collect())
    }
}
