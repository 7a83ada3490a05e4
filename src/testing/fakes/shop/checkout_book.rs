//! The shop's open checkouts.

use async_trait::async_trait;

use super::{Attempt, FakeShop, Shelves};
use crate::application::ports::{
    CheckoutBook, Collect, Collected, Done, Edit, Effect, FoundCheckout, PortError, StockFacts,
};
use crate::domain::checkout::{Change, Standing};
use crate::domain::ids::{AttemptId, ItemNo, SaleId};
use crate::domain::sale::SaleState;

#[async_trait]
impl CheckoutBook for FakeShop {
    async fn collect(&self, wanted: Collect) -> Result<Collected, PortError> {
        let mut state = self.state.lock().unwrap();
        let version = state.next_version(self.now());
        let new_attempt = state.next_attempt();
        if state.has_used(&wanted.buyer, wanted.key.as_ref()) {
            return Ok(Collected::KeyUsed);
        }
        let shelves = state.shelves(wanted.sale)?;
        match self.state_of(&shelves.sale) {
            SaleState::Upcoming => return Ok(Collected::NotStarted),
            SaleState::Ended => return Ok(Collected::Ended),
            SaleState::Open => {}
        }
        let collected = shelves.collect(&wanted, new_attempt, version);
        if let Collected::Added { attempt, created, standing, .. } = &collected {
            let effect = Effect::Changed { created: *created, lines: standing.lines.clone() };
            let Collect { sale, buyer, key, .. } = wanted;
            let done = Done { buyer, sale, attempt: *attempt, effect };
            state.use_key(key, done, self.now());
        }
        Ok(collected)
    }

    async fn find(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<FoundCheckout>, PortError> {
        let state = self.state.lock().unwrap();
        let Some(shelves) = state.sales.get(&sale) else {
            return Ok(None);
        };
        Ok(shelves.attempts.get(&attempt).map(|found| FoundCheckout {
            buyer: found.buyer.clone(),
            lines: found.lines.clone(),
            purchased: shelves.outcomes.contains_key(&attempt),
        }))
    }
}

impl Shelves {
    fn collect(&mut self, wanted: &Collect, new: AttemptId, version: i64) -> Collected {
        let buyer = self.buyers.get(&wanted.buyer);
        let (open, bought) = buyer.map_or((None, 0), |buyer| (buyer.open, buyer.bought));
        if wanted.attempt.is_some() && wanted.attempt != open {
            return Collected::Closed;
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
        let mut standing = Standing { lines, bought };
        let change = match &wanted.edit {
            Edit::Set(lines) => match standing.collect(lines, self.sale.buyer_limit) {
                Ok(change) => change,
                Err(_) => return Collected::OverLimit,
            },
            Edit::Remove(item) => {
                standing.remove(*item);
                Change::Replaced
            }
        };
        self.buyers.entry(wanted.buyer.clone()).or_default().open = Some(attempt);
        let lines = standing.lines.clone();
        self.attempts.insert(attempt, Attempt { buyer: wanted.buyer.clone(), lines });
        let created =
            if wanted.attempt.is_some() { change == Change::Added } else { open.is_none() };
        Collected::Added { attempt, created, standing, change, version }
    }
}
