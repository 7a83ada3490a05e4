//! The purchases and totals of the shop's buyers.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::FakeShop;
use crate::application::ports::{
    BuyerTotalsReader, Cursor, CursorPage, Page, PageRequest, PastPurchase, PortError,
    PurchaseHistory, PurchaseKey,
};
use crate::domain::ids::{BuyerId, SaleId};

#[async_trait]
impl PurchaseHistory for FakeShop {
    async fn of_buyer(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        page: PageRequest,
    ) -> Result<Page<PastPurchase>, PortError> {
        let state = self.state.lock().unwrap();
        let mut past = Vec::new();
        for (id, data) in &state.sales {
            let wanted = sale.is_none_or(|sale| sale == *id);
            for (attempt, outcome) in data.outcomes.iter().filter(|_| wanted) {
                if outcome.buyer == *buyer {
                    let outcome = outcome.as_ref().clone();
                    past.push(PastPurchase { sale: *id, attempt: *attempt, outcome });
                }
            }
        }
        past.sort_by_key(|past| Reverse((past.outcome.purchased_at, past.attempt)));
        let total = i64::try_from(past.len()).unwrap();
        let skipped = usize::try_from(page.offset()).unwrap();
        let limit = usize::try_from(page.limit).unwrap();
        Ok(Page { entries: past.into_iter().skip(skipped).take(limit).collect(), total })
    }

    async fn list(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: Cursor<PurchaseKey>,
    ) -> Result<CursorPage<PastPurchase, PurchaseKey>, PortError> {
        let all = PageRequest { page: 1, limit: u32::MAX };
        let mut past = self.of_buyer(buyer, sale, all).await?.entries;
        past.retain(|past| after.entry.is_none_or(|last| PurchaseKey::of(past) < last));
        Ok(CursorPage::cut(past, after.limit, PurchaseKey::of))
    }
}

#[async_trait]
impl BuyerTotalsReader for FakeShop {
    async fn committed_pieces(
        &self,
        sale: SaleId,
        buyers: &[BuyerId],
    ) -> Result<Vec<i64>, PortError> {
        let state = self.state.lock().unwrap();
        let counted = buyers.iter().map(|name| {
            let Some((data, buyer)) =
                state.sales.get(&sale).and_then(|s| Some((s, s.buyers.get(name)?)))
            else {
                return 0;
            };
            let open = buyer.open.and_then(|open| data.attempts.get(&open));
            let lines = open.map_or(&[][..], |open| &open.lines);
            lines.iter().map(|line| i64::from(line.quantity.get())).sum::<i64>()
                + i64::from(buyer.bought)
        });
        Ok(counted.collect())
    }
}
