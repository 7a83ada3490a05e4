//! The shop's open checkouts.

use async_trait::async_trait;

use super::{Attempt, FakeShop};
use crate::application::ports::{CheckoutBook, Collect, Collected, PortError, StockFacts};
use crate::domain::checkout::Standing;
use crate::domain::sale::SaleState;

#[async_trait]
impl CheckoutBook for FakeShop {
    async fn collect(&self, wanted: Collect) -> Result<Collected, PortError> {
        let mut state = self.state.lock().unwrap();
        let version = state.next_version(self.now());
        let new_attempt = state.next_attempt();
        let shelves = state.shelves(wanted.sale)?;
        match self.state_of(&shelves.sale) {
            SaleState::Upcoming => return Ok(Collected::NotStarted),
            SaleState::Ended => return Ok(Collected::Ended),
            SaleState::Open => {}
        }
        let item = wanted.line.item;
        if shelves.stock.get(&item).is_some_and(|stock| stock.left() == 0) {
            let generation = shelves.sale.generation;
            let sold_out = vec![item];
            return Ok(Collected::SoldOut(StockFacts { generation, sold_out, sold: Vec::new() }));
        }
        let (open, bought) =
            shelves.buyers.get(&wanted.buyer).map_or((None, 0), |buyer| (buyer.open, buyer.bought));
        let id = open.unwrap_or(new_attempt);
        let lines = shelves.attempts.get(&id).map_or_else(Vec::new, |open| open.lines.clone());
        let mut standing = Standing { lines, bought };
        let Ok(change) = standing.collect(wanted.line, shelves.sale.buyer_limit) else {
            return Ok(Collected::OverLimit);
        };
        shelves.buyers.entry(wanted.buyer.clone()).or_default().open = Some(id);
        let attempt = Attempt { buyer: wanted.buyer, lines: standing.lines.clone() };
        shelves.attempts.insert(id, attempt);
        Ok(Collected::Added { attempt: id, standing, change, version })
    }
}
