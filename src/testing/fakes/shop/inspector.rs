//! The audit of the shop.

use async_trait::async_trait;

use super::FakeShop;
use crate::application::ports::{Finding, Inspector, PortError};
use crate::domain::ids::SaleId;

#[async_trait]
impl Inspector for FakeShop {
    async fn inspect(&self, sale: Option<SaleId>) -> Result<Vec<Finding>, PortError> {
        let state = self.state.lock().unwrap();
        let sales = state.sales.iter().filter(|(id, _)| sale.is_none_or(|sale| sale == **id));
        let mut oversold = finding("I1", "no item's stock is oversold");
        let mut beyond = finding("I3", "no buyer has bought more than the sale's limit");
        for (_, data) in sales {
            for stock in data.stock.values() {
                oversold.counted += 1;
                oversold.broken += i64::from(stock.sold > stock.pieces);
            }
            for buyer in data.buyers.values() {
                beyond.counted += 1;
                beyond.broken += i64::from(buyer.bought > data.sale.buyer_limit);
            }
        }
        Ok(vec![oversold, beyond])
    }
}

fn finding(promise: &'static str, check: &'static str) -> Finding {
    Finding { promise, check, counted: 0, broken: 0, examples: Vec::new() }
}
