//! The ports of lists and reports, on replicas where that is right. Everything else goes to the primary: what checkouts, purchases and
//! the sale cache read decides what is sold.

use std::sync::Arc;

use async_trait::async_trait;

use super::set::{Freshness, OnEach, Replicas};
use crate::application::catalogue::{Catalogue, Item};
use crate::application::ports::{
    Cursor, CursorPage, ItemReader, Page, PageRequest, PastPurchase, PortError, PurchaseHistory,
    PurchaseKey, SaleFilter, SaleKey, SaleReportReader, SaleStore, StockFacts, StockSnapshot,
    StockedItem,
};
use crate::domain::ids::{BuyerId, ItemId, ItemNo, SaleId};
use crate::domain::sale::{NewSale, Progress, Sale};
use crate::domain::sale_report::SaleReport;

/// A port on replicas and the primary.
pub(crate) struct OnReplicas<P: ?Sized> {
    replicas: Arc<Replicas>,
    each: OnEach<Arc<P>>,
    /// For lists of sales and of items. Who reads them at a terminal expects to see the latest writes, and so does the read cache.
    lists: Freshness,
}

impl<P: ?Sized> OnReplicas<P> {
    /// Lists that may lag by as much as the limit.
    pub(crate) fn recent(replicas: &Arc<Replicas>, each: OnEach<Arc<P>>) -> Self {
        Self { replicas: Arc::clone(replicas), each, lists: Freshness::Recent }
    }

    /// Lists that contain everything acknowledged before they are read.
    pub(crate) fn acknowledged(replicas: &Arc<Replicas>, each: OnEach<Arc<P>>) -> Self {
        Self { lists: Freshness::Acknowledged, ..Self::recent(replicas, each) }
    }

    fn primary(&self) -> &P {
        self.each.primary()
    }
}

#[async_trait]
impl SaleStore for OnReplicas<dyn SaleStore> {
    async fn create(&self, sale: &NewSale, actor: &str) -> Result<Option<Sale>, PortError> {
        self.primary().create(sale, actor).await
    }

    async fn find(&self, sale: SaleId) -> Result<Option<Sale>, PortError> {
        self.primary().find(sale).await
    }

    async fn is_archived(&self, sale: SaleId) -> Result<bool, PortError> {
        self.primary().is_archived(sale).await
    }

    async fn find_all(&self, sales: &[SaleId]) -> Result<Vec<Sale>, PortError> {
        self.primary().find_all(sales).await
    }

    async fn live(&self) -> Result<Vec<Sale>, PortError> {
        self.primary().live().await
    }

    async fn list(
        &self,
        wanted: SaleFilter,
        after: Cursor<SaleKey>,
    ) -> Result<CursorPage<Sale, SaleKey>, PortError> {
        self.replicas.read(&self.each, self.lists, |sales| sales.list(wanted, after)).await
    }
}

#[async_trait]
impl ItemReader for OnReplicas<dyn ItemReader> {
    async fn catalogue(&self, sale: SaleId) -> Result<Catalogue, PortError> {
        self.primary().catalogue(sale).await
    }

    async fn by_id(&self, sale: SaleId, items: &[ItemId]) -> Result<Vec<Item>, PortError> {
        self.primary().by_id(sale, items).await
    }

    /// A replica may lack the items of a sale that was created just now.
    async fn by_number(&self, sale: SaleId, items: &[ItemNo]) -> Result<Vec<Item>, PortError> {
        let found = self
            .replicas
            .read(&self.each, Freshness::Recent, |reader| reader.by_number(sale, items))
            .await?;
        if found.len() >= items.len() {
            return Ok(found);
        }
        self.primary().by_number(sale, items).await
    }

    async fn page(
        &self,
        sale: SaleId,
        available: bool,
        page: PageRequest,
    ) -> Result<Vec<StockedItem>, PortError> {
        self.replicas.read(&self.each, self.lists, |items| items.page(sale, available, page)).await
    }

    async fn list(
        &self,
        sale: SaleId,
        available: bool,
        after: Cursor<ItemNo>,
    ) -> Result<CursorPage<StockedItem, ItemNo>, PortError> {
        self.replicas.read(&self.each, self.lists, |items| items.list(sale, available, after)).await
    }

    /// A sum contains what an instance had acknowledged before it was made: requests of a while share it.
    async fn progress(&self, sales: &[SaleId]) -> Result<Vec<(SaleId, Progress)>, PortError> {
        self.replicas.read(&self.each, Freshness::Acknowledged, |items| items.progress(sales)).await
    }

    async fn sold_out_among(
        &self,
        sale: SaleId,
        items: &[ItemNo],
    ) -> Result<StockFacts, PortError> {
        self.primary().sold_out_among(sale, items).await
    }

    async fn stock(&self, sale: SaleId) -> Result<StockSnapshot, PortError> {
        self.primary().stock(sale).await
    }
}

/// A buyer who has just bought sees the purchase, whichever instance sold it.
#[async_trait]
impl PurchaseHistory for OnReplicas<dyn PurchaseHistory> {
    async fn of_buyer(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        page: PageRequest,
    ) -> Result<Page<PastPurchase>, PortError> {
        self.replicas
            .read(&self.each, Freshness::Acknowledged, |history| {
                history.of_buyer(buyer, sale, page)
            })
            .await
    }

    async fn list(
        &self,
        buyer: &BuyerId,
        sale: Option<SaleId>,
        after: Cursor<PurchaseKey>,
    ) -> Result<CursorPage<PastPurchase, PurchaseKey>, PortError> {
        self.replicas
            .read(&self.each, Freshness::Acknowledged, |history| history.list(buyer, sale, after))
            .await
    }
}

#[async_trait]
impl SaleReportReader for OnReplicas<dyn SaleReportReader> {
    async fn report(&self, sale: SaleId) -> Result<Option<SaleReport>, PortError> {
        self.replicas
            .read(&self.each, Freshness::Acknowledged, |reports| reports.report(sale))
            .await
    }
}
