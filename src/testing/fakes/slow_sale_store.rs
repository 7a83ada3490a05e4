//! A sale store whose reads wait for a permit of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::shop::FakeShop;
use crate::application::ports::{Cursor, CursorPage, PortError, SaleFilter, SaleKey, SaleStore};
use crate::domain::ids::SaleId;
use crate::domain::sale::{NewSale, Sale};

/// The sales of the fake shop; each read waits for [`Self::allow`].
pub(crate) struct SlowSaleStore {
    shop: Arc<FakeShop>,
    permits: Semaphore,
    calls: AtomicUsize,
}

impl SlowSaleStore {
    pub(crate) fn of(shop: Arc<FakeShop>) -> Arc<Self> {
        Arc::new(Self { shop, permits: Semaphore::new(0), calls: AtomicUsize::new(0) })
    }

    /// Lets this many reads return.
    pub(crate) fn allow(&self, reads: usize) {
        self.permits.add_permits(reads);
    }

    /// Reads that were started.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    async fn wait(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.permits.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl SaleStore for SlowSaleStore {
    async fn create(&self, sale: &NewSale, actor: &str) -> Result<Option<Sale>, PortError> {
        self.shop.create(sale, actor).await
    }

    async fn find(&self, sale: SaleId) -> Result<Option<Sale>, PortError> {
        self.wait().await;
        self.shop.find(sale).await
    }

    async fn is_archived(&self, sale: SaleId) -> Result<bool, PortError> {
        self.shop.is_archived(sale).await
    }

    async fn find_all(&self, sales: &[SaleId]) -> Result<Vec<Sale>, PortError> {
        self.wait().await;
        self.shop.find_all(sales).await
    }

    async fn live(&self) -> Result<Vec<Sale>, PortError> {
        self.wait().await;
        self.shop.live().await
    }

    async fn list(
        &self,
        wanted: SaleFilter,
        after: Cursor<SaleKey>,
    ) -> Result<CursorPage<Sale, SaleKey>, PortError> {
        SaleStore::list(&*self.shop, wanted, after).await
    }
}
