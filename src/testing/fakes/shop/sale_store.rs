//! The shop's sales.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::FakeShop;
use crate::application::ports::{Cursor, CursorPage, PortError, SaleFilter, SaleKey, SaleStore};
use crate::domain::ids::SaleId;
use crate::domain::sale::{NewSale, Sale, SaleState};

/// A sale that starts later than this is not live yet.
const SOON: chrono::Duration = chrono::Duration::days(1);

impl FakeShop {
    /// Creates a sale, unless it is a scheduled one and another has the same start.
    pub(crate) fn put_unless_taken(&self, sale: &NewSale, actor: &str) -> Option<Sale> {
        let mut state = self.state.lock().unwrap();
        let is_taken = state.sales.values().any(|data| {
            let other = &data.sale;
            sale.scheduled && other.scheduled && other.window.starts_at() == sale.window.starts_at()
        });
        (!is_taken).then(|| state.put(sale, actor))
    }
}

#[async_trait]
impl SaleStore for FakeShop {
    async fn create(&self, sale: &NewSale, actor: &str) -> Result<Option<Sale>, PortError> {
        Ok(self.put_unless_taken(sale, actor))
    }

    async fn find(&self, sale: SaleId) -> Result<Option<Sale>, PortError> {
        Ok(self.state.lock().unwrap().sales.get(&sale).map(|data| data.sale.clone()))
    }

    async fn is_archived(&self, sale: SaleId) -> Result<bool, PortError> {
        Ok(self.state.lock().unwrap().archived.contains(&sale))
    }

    async fn find_all(&self, sales: &[SaleId]) -> Result<Vec<Sale>, PortError> {
        let state = self.state.lock().unwrap();
        let found = sales.iter().filter_map(|sale| state.sales.get(sale));
        Ok(found.map(|data| data.sale.clone()).collect())
    }

    async fn live(&self) -> Result<Vec<Sale>, PortError> {
        let state = self.state.lock().unwrap();
        let soon = self.now() + SOON;
        let mut live: Vec<Sale> = state
            .sales
            .values()
            .map(|data| &data.sale)
            .filter(|sale| self.state_of(sale) != SaleState::Ended)
            .filter(|sale| sale.window.starts_at() < soon)
            .cloned()
            .collect();
        live.sort_by_key(|sale| sale.window.starts_at());
        Ok(live)
    }

    async fn list(
        &self,
        wanted: SaleFilter,
        after: Cursor<SaleKey>,
    ) -> Result<CursorPage<Sale, SaleKey>, PortError> {
        let sales = self.state.lock().unwrap();
        let mut sales: Vec<_> = sales.sales.values().map(|data| data.sale.clone()).collect();
        sales.retain(|sale| wanted.state.is_none_or(|state| state == self.state_of(sale)));
        sales.retain(|sale| wanted.since.is_none_or(|since| sale.window.starts_at() >= since));
        sales.retain(|sale| after.entry.is_none_or(|entry| SaleKey::of(sale) < entry));
        sales.sort_by_key(|sale| Reverse(SaleKey::of(sale)));
        Ok(CursorPage::cut(sales, after.limit, SaleKey::of))
    }
}
