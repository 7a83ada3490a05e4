//! The shop's open checkouts.

use async_trait::async_trait;

use super::{Attempt, FakeShop, SaleData, State};
use crate::application::ports::{
    Caller, CheckoutStore, Collect, Collected, Done, Edit, Effect, FoundCheckout, Keyed,
    KeyedRequest, PortError, StockFacts,
};
use crate::domain::checkout::{BuyerTotals, Change};
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::SaleState;
use crate::domain::terms::CheckoutTag;

impl FakeShop {
    fn collect_in(&self, state: &mut State, request: &Collect) -> Result<Collected, PortError> {
        let version = state.next_version(self.now());
        let new_attempt = state.next_attempt();
        let data = state.data(request.sale)?;
        match self.state_of(&data.sale) {
            SaleState::Upcoming => return Ok(Collected::NotStarted),
            SaleState::Ended => return Ok(Collected::Ended),
            SaleState::Open => {}
        }
        Ok(data.collect(request, new_attempt, version))
    }
}

#[async_trait]
impl CheckoutStore for FakeShop {
    async fn collect(&self, request: Collect) -> Result<Collected, PortError> {
        self.collect_in(&mut self.state.lock().unwrap(), &request)
    }

    async fn collect_keyed(
        &self,
        request: Collect,
        key: KeyedRequest,
    ) -> Result<Keyed<Collected, Done>, PortError> {
        let mut state = self.state.lock().unwrap();
        let caller = Caller::Buyer(request.buyer.clone(), Some(request.sale));
        if let Err(known) = state.find_key(caller, &key).into_new() {
            return Ok(known);
        }
        let collected = self.collect_in(&mut state, &request)?;
        if let Collected::Added { attempt, created, totals, .. } = &collected {
            let effect = Effect::Changed { created: *created, lines: totals.lines.clone() };
            let Collect { sale, buyer, .. } = request;
            self.store_key(&mut state, key, Done { buyer, sale, attempt: *attempt, effect });
        }
        Ok(Keyed::New(collected))
    }

    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError> {
        let state = self.state.lock().unwrap();
        let Some(data) = state.sales.get(&sale) else {
            return Ok(None);
        };
        Ok(data.attempts.get(&attempt).map(|found| FoundCheckout {
            buyer: found.buyer.clone(),
            lines: found.lines.clone(),
            purchased: data.outcomes.contains_key(&attempt),
        }))
    }
}

impl SaleData {
    fn collect(&mut self, wanted: &Collect, new: AttemptId, version: i64) -> Collected {
        let buyer = self.buyers.get(&wanted.buyer);
        let (open, bought) = buyer.map_or((None, 0), |buyer| (buyer.open, buyer.bought));
        if wanted.attempt.is_some() && wanted.attempt != open {
            return Collected::Closed;
        }
        let lines = open.and_then(|open| self.attempts.get(&open)).map(|open| &open.lines[..]);
        let tag = CheckoutTag::of(lines.unwrap_or_default());
        if wanted.tags.as_ref().is_some_and(|tags| !tags.contains(&tag)) {
            return Collected::OtherTag;
        }
        let is_gone = |item: &ItemNo| self.stock.get(item).is_some_and(|stock| stock.left() == 0);
        let items = wanted.edit.lines().iter().map(|line| line.item);
        let sold_out: Vec<ItemNo> = items.filter(is_gone).collect();
        if !sold_out.is_empty() {
            let generation = self.sale.generation;
            return Collected::SoldOut(StockFacts { generation, sold_out, sold: Vec::new() });
        }
        let attempt = open.unwrap_or(new);
        let lines = self.attempts.get(&attempt).map_or_else(Vec::new, |open| open.lines.clone());
        let mut totals = BuyerTotals { lines, bought };
        let change = match &wanted.edit {
            Edit::Set(lines) => match totals.collect(lines, self.sale.buyer_limit) {
                Ok(change) => change,
                Err(_) => return Collected::OverLimit(totals.pieces()),
            },
            Edit::Remove(item) => {
                totals.remove(*item);
                Change::Replaced
            }
        };
        self.buyers.entry(wanted.buyer.clone()).or_default().open = Some(attempt);
        let lines = totals.lines.clone();
        self.attempts.insert(attempt, Attempt { buyer: wanted.buyer.clone(), lines });
        let created =
            if wanted.attempt.is_some() { change == Change::Added } else { open.is_none() };
        Collected::Added { attempt, created, totals, change, version }
    }
}
