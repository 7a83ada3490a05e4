//! The items of the shop's sales.

use async_trait::async_trait;

use super::{FakeShop, SaleData};
use crate::application::catalogue::{Catalogue, CatalogueBuilder, Item};
use crate::application::ports::{
    Cursor, CursorPage, ItemReader, PageRequest, PortError, StockFacts, StockSnapshot, StockedItem,
};
use crate::domain::ids::{ItemId, ItemNo, SaleId};
use crate::domain::sale::Progress;

#[async_trait]
impl ItemReader for FakeShop {
    async fn catalogue(&self, sale: SaleId) -> Result<Catalogue, PortError> {
        let mut state = self.state.lock().unwrap();
        let mut builder = CatalogueBuilder::default();
        for no in state.data(sale)?.stock.keys() {
            let item = item(*no);
            builder.push(*no, item.id.as_str(), &item.name, &item.image_url).unwrap();
        }
        Ok(builder.build())
    }

    async fn by_id(&self, sale: SaleId, items: &[ItemId]) -> Result<Vec<Item>, PortError> {
        let mut state = self.state.lock().unwrap();
        let known = state.data(sale)?.stock.keys().map(|no| item(*no));
        Ok(known.filter(|item| items.contains(&item.id)).collect())
    }

    async fn by_number(&self, sale: SaleId, items: &[ItemNo]) -> Result<Vec<Item>, PortError> {
        let mut state = self.state.lock().unwrap();
        let stock = &state.data(sale)?.stock;
        Ok(items.iter().filter(|no| stock.contains_key(no)).map(|no| item(*no)).collect())
    }

    async fn page(
        &self,
        sale: SaleId,
        available: bool,
        page: PageRequest,
    ) -> Result<Vec<StockedItem>, PortError> {
        let mut state = self.state.lock().unwrap();
        let stock = &state.data(sale)?.stock;
        let wanted: Vec<_> =
            stock.iter().filter(|(_, stock)| !available || stock.left() > 0).collect();
        let skipped = usize::try_from(page.offset()).unwrap();
        let limit = usize::try_from(page.limit).unwrap();
        let entries = wanted.iter().skip(skipped).take(limit).map(|(no, stock)| StockedItem {
            item: item(**no),
            stock: stock.pieces,
            remaining: stock.left(),
        });
        Ok(entries.collect())
    }

    async fn list(
        &self,
        sale: SaleId,
        available: bool,
        after: Cursor<ItemNo>,
    ) -> Result<CursorPage<StockedItem, ItemNo>, PortError> {
        let all = PageRequest { page: 1, limit: u32::MAX };
        let mut entries = self.page(sale, available, all).await?;
        entries.retain(|entry| after.entry.is_none_or(|last| entry.item.no > last));
        Ok(CursorPage::cut(entries, after.limit, |entry| entry.item.no))
    }

    async fn progress(&self, sales: &[SaleId]) -> Result<Vec<(SaleId, Progress)>, PortError> {
        Ok(sales.iter().map(|sale| (*sale, self.progress_of(*sale))).collect())
    }

    async fn sold_out_among(
        &self,
        sale: SaleId,
        items: &[ItemNo],
    ) -> Result<StockFacts, PortError> {
        let mut facts = self.stock(sale).await?.facts;
        facts.sold_out.retain(|item| items.contains(item));
        Ok(StockFacts { sold: Vec::new(), ..facts })
    }

    async fn stock(&self, sale: SaleId) -> Result<StockSnapshot, PortError> {
        Ok(self.stock_of(sale))
    }
}

impl FakeShop {
    /// Pieces sold and left in a sale.
    pub(crate) fn progress_of(&self, sale: SaleId) -> Progress {
        let state = self.state.lock().unwrap();
        let data = &state.sales[&sale];
        let sold = data.stock.values().map(|stock| i64::from(stock.sold)).sum();
        let available = data.stock.values().filter(|stock| stock.left() > 0).count();
        let available_items = i64::try_from(available).unwrap();
        Progress { sold, remaining: data.pieces() - sold, available_items }
    }
}

impl FakeShop {
    /// The sold-out items of a sale.
    pub(crate) fn stock_of(&self, sale: SaleId) -> StockSnapshot {
        let state = self.state.lock().unwrap();
        let data = &state.sales[&sale];
        let sold_out = data.stock.iter().filter(|(_, stock)| stock.left() == 0);
        let facts = StockFacts {
            generation: data.sale.generation,
            sold_out: sold_out.clone().map(|(item, _)| *item).collect(),
            sold: sold_out.map(|(item, stock)| (*item, stock.sold)).collect(),
        };
        StockSnapshot { facts, pieces: data.pieces() }
    }
}

impl SaleData {
    fn pieces(&self) -> i64 {
        self.stock.values().map(|stock| i64::from(stock.pieces)).sum()
    }
}

fn item(no: ItemNo) -> Item {
    Item {
        no,
        id: ItemId::parse(&no.0.to_string()).unwrap(),
        name: format!("Item {}", no.0),
        image_url: format!("https://images.example.com/{}.jpg", no.0),
    }
}
