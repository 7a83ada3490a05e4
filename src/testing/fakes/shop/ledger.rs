//! The shop's decisions.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{FakeShop, Shelves, State};
use crate::application::ports::{
    Decision, Done, Effect, Ledger, PortError, Settle, Settled, StockFacts,
};
use crate::domain::ids::{AttemptId, BuyerId, SaleId};
use crate::domain::purchase::{Outcome, SettledLine};
use crate::domain::sale::SaleState;
use crate::domain::settlement::{Allowance, Request, settle};

#[async_trait]
impl Ledger for FakeShop {
    async fn settle(&self, wanted: Settle) -> Result<Settled, PortError> {
        let Settle { sale, attempt, key } = wanted;
        let mut state = self.state.lock().unwrap();
        if state.holder(sale, attempt).is_some_and(|buyer| state.has_used(&buyer, key.as_ref())) {
            return Ok(Settled::KeyUsed);
        }
        let version = state.next_version(self.now());
        let Some(shelves) = state.sales.get_mut(&sale) else {
            return Ok(Settled::Unknown);
        };
        if let Some(outcome) = shelves.outcomes.get(&attempt) {
            return Ok(Settled::Before(Arc::clone(outcome)));
        }
        let Some(request) = shelves.request(attempt) else {
            return Ok(Settled::Unknown);
        };
        match self.state_of(&shelves.sale) {
            SaleState::Upcoming => return Ok(Settled::NotStarted),
            SaleState::Ended => return Ok(Settled::Ended),
            SaleState::Open => {}
        }
        if request.lines.is_empty() {
            return Ok(Settled::Empty);
        }
        let buyer = request.buyer.clone();
        let lines = shelves.decide(request);
        let outcome = Arc::new(Outcome { buyer, purchased_at: self.now(), lines });
        shelves.outcomes.insert(attempt, Arc::clone(&outcome));
        let bought = shelves.buyers[&outcome.buyer].bought;
        let facts = shelves.facts(&outcome);
        let buyer = outcome.buyer.clone();
        let done = Done { buyer, sale, attempt, effect: Effect::Purchased };
        state.use_key(key, done, self.now());
        Ok(Settled::Now(Decision { outcome, facts, version, bought }))
    }

    async fn outcome(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<Outcome>, PortError> {
        let state = self.state.lock().unwrap();
        let outcome = state.sales.get(&sale).and_then(|shelves| shelves.outcomes.get(&attempt));
        Ok(outcome.map(|outcome| Outcome::clone(outcome)))
    }
}

impl State {
    fn holder(&self, sale: SaleId, attempt: AttemptId) -> Option<BuyerId> {
        Some(self.sales.get(&sale)?.attempts.get(&attempt)?.buyer.clone())
    }
}

impl Shelves {
    fn request(&self, attempt: AttemptId) -> Option<Request> {
        let open = self.attempts.get(&attempt)?;
        Some(Request { attempt, buyer: open.buyer.clone(), lines: open.lines.clone() })
    }

    fn decide(&mut self, request: Request) -> Vec<SettledLine> {
        let left = self.stock.iter().map(|(item, stock)| (*item, stock.left()));
        let buyer = self.buyers.entry(request.buyer.clone()).or_default();
        let allowance = Allowance { bought: buyer.bought, limit: self.sale.buyer_limit };
        let allowances = HashMap::from([(request.buyer.clone(), allowance)]);
        let attempt = request.attempt;
        let mut settlement = settle(left.collect(), allowances, &[request]);
        buyer.bought += settlement.bought.values().sum::<i32>();
        buyer.open = buyer.open.filter(|open| *open != attempt);
        for (item, pieces) in settlement.sold {
            self.stock.get_mut(&item).unwrap().sold += pieces;
        }
        settlement.decided.remove(&attempt).unwrap_or_default()
    }

    fn facts(&self, outcome: &Outcome) -> StockFacts {
        let items: Vec<_> = outcome.lines.iter().map(|line| line.line.item).collect();
        let stock = |item| self.stock[item];
        StockFacts {
            generation: self.sale.generation,
            sold_out: items.iter().filter(|item| stock(item).left() == 0).copied().collect(),
            sold: items.iter().map(|item| (*item, stock(item).sold)).collect(),
        }
    }
}
