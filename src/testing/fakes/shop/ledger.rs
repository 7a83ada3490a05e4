//! The shop's decisions.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{FakeShop, SaleData, State};
use crate::application::ports::{
    Caller, Decision, Done, Effect, Keyed, KeyedRequest, Ledger, PortError, Settle, Settled,
    StockFacts,
};
use crate::domain::ids::{AttemptId, SaleId};
use crate::domain::purchase::{Outcome, SettledLine};
use crate::domain::sale::SaleState;
use crate::domain::settlement::{Allowance, Request, settle};
use crate::domain::terms::Declined;

impl FakeShop {
    fn settle_in(&self, state: &mut State, request: &Settle) -> Settled {
        let Settle { sale, attempt, terms, .. } = request.clone();
        let version = state.next_version(self.now());
        let Some(data) = state.sales.get_mut(&sale) else {
            return Settled::Unknown;
        };
        if data.request(attempt).is_some_and(|open| !request.is_for(&open.buyer)) {
            return Settled::OtherBuyer;
        }
        if let Some(outcome) = data.outcomes.get(&attempt) {
            return Settled::Before(Arc::clone(outcome));
        }
        let Some(request) = data.request(attempt) else {
            return Settled::Unknown;
        };
        match self.state_of(&data.sale) {
            SaleState::Upcoming => return Settled::NotStarted,
            SaleState::Ended => return Settled::Ended,
            SaleState::Open => {}
        }
        let request = Request { terms, ..request };
        if request.lines.is_empty() {
            let checked = request.terms.map_or(Ok(()), |terms| terms.check(&[]));
            return checked.map_or_else(Settled::Declined, |()| Settled::Empty);
        }
        let buyer = request.buyer.clone();
        let lines = match data.decide(request) {
            Ok(lines) => lines,
            Err(declined) => return Settled::Declined(declined),
        };
        let outcome = Arc::new(Outcome { buyer, purchased_at: self.now(), lines });
        data.outcomes.insert(attempt, Arc::clone(&outcome));
        let bought = data.buyers[&outcome.buyer].bought;
        let facts = data.facts(&outcome);
        Settled::Now(Decision { outcome, facts, version, bought })
    }
}

#[async_trait]
impl Ledger for FakeShop {
    async fn settle(&self, request: Settle) -> Result<Settled, PortError> {
        Ok(self.settle_in(&mut self.state.lock().unwrap(), &request))
    }

    async fn settle_keyed(
        &self,
        request: Settle,
        key: KeyedRequest,
    ) -> Result<Keyed<Settled, Done>, PortError> {
        let Settle { sale, attempt, .. } = request;
        let mut state = self.state.lock().unwrap();
        match state.find_key(Caller::HolderOf(sale, attempt), &key).into_new() {
            Ok(_) | Err(Keyed::UnknownCode) => {}
            Err(known) => return Ok(known),
        }
        let settled = self.settle_in(&mut state, &request);
        if let Settled::Now(decision) = &settled {
            let (buyer, effect) = (decision.outcome.buyer.clone(), Effect::Purchased);
            self.store_key(&mut state, key, Done { buyer, sale, attempt, effect });
        }
        Ok(Keyed::New(settled))
    }

    async fn outcome(
        &self,
        sale: SaleId,
        attempt: AttemptId,
    ) -> Result<Option<Outcome>, PortError> {
        let state = self.state.lock().unwrap();
        let outcome = state.sales.get(&sale).and_then(|data| data.outcomes.get(&attempt));
        Ok(outcome.map(|outcome| Outcome::clone(outcome)))
    }
}

impl SaleData {
    fn request(&self, attempt: AttemptId) -> Option<Request> {
        let open = self.attempts.get(&attempt)?;
        let (buyer, lines) = (open.buyer.clone(), open.lines.clone());
        Some(Request { attempt, buyer, lines, terms: None })
    }

    fn decide(&mut self, request: Request) -> Result<Vec<SettledLine>, Declined> {
        let left = self.stock.iter().map(|(item, stock)| (*item, stock.left()));
        let buyer = self.buyers.entry(request.buyer.clone()).or_default();
        let allowance = Allowance { bought: buyer.bought, limit: self.sale.buyer_limit };
        let allowances = HashMap::from([(request.buyer.clone(), allowance)]);
        let attempt = request.attempt;
        let mut settlement = settle(left.collect(), allowances, &[request]);
        if let Some(declined) = settlement.declined.remove(&0) {
            return Err(declined);
        }
        buyer.bought += settlement.bought.values().sum::<i32>();
        buyer.open = buyer.open.filter(|open| *open != attempt);
        for (item, pieces) in settlement.sold {
            self.stock.get_mut(&item).unwrap().sold += pieces;
        }
        Ok(settlement.decided.remove(&attempt).unwrap_or_default())
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
