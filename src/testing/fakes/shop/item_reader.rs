//! The items of the shop's sales.

use async_trait::async_trait;

use super::{FakeShop, SaleData};
use crate::application::catalogue::{Catalogue, CatalogueBuilder, Item};
use crate::application::ports::{
    Cursor, CursorPage, ItemReader, Page, PageRequest, PortError, StockFacts, StockSnapshot,
    StockedItem,
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
    ) -> Result<Page<StockedItem>, PortError> {
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
        let total = i64::try_from(wanted.len()).unwrap();
        Ok(Page { entries: entries.collect(), total })
    }

    async fn list(
        &self,
        sale: SaleId,
        available: bool,
        after: Cursor<ItemNo>,
    ) -> Result<CursorPage<StockedItem, ItemNo>, PortError> {
        let all = PageRequest { page: 1, limit: u32::MAX };
        let mut entries = self.page(sale, available, all).await?.entries;
        entries.retain(|entry| after.entry.is_none_or(|last| entry.item.no > last));
        Ok(CursorPage::cut(entries, after.limit, |entry| entry.item.no))
    }

    async fn progress(&self, sale: SaleId) -> Result<Progress, PortError> {
        let mut state = self.state.lock().unwrap();
        let data = state.data(sale)?;
        let sold = data.stock.values().map(|stock| i64::from(stock.sold)).sum();
        Ok(Progress { sold, remaining: data.pieces() - sold })
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
        let mut state = self.state.lock().unwrap();
        let data = state.data(sale)?;
        let sold_out = data.stock.iter().filter(|(_, stock)| stock.left() == 0);
        let facts = StockFacts {
            generation: data.sale.generation,
            sold_out: sold_out.clone().map(|(item, _)| *item).collect(),
            sold: sold_out.map(|(item, stock)| (*item, stock.sold)).collect(),
        };
        Ok(StockSnapshot { facts, pieces: data.pieces() })
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
