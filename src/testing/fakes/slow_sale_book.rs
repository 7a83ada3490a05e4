//! Sales that are told only when the test lets them be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::shop::FakeShop;
use crate::application::ports::{After, PortError, SaleBook, SaleFilter, SaleKey, Stretch};
use crate::domain::ids::SaleId;
use crate::domain::sale::{NewSale, Sale};

/// The shop's sales, each look held up until [`Self::answer`].
pub(crate) struct SlowSaleBook {
    shop: Arc<FakeShop>,
    answers: Semaphore,
    asked: AtomicUsize,
}

impl SlowSaleBook {
    pub(crate) fn of(shop: Arc<FakeShop>) -> Arc<Self> {
        Arc::new(Self { shop, answers: Semaphore::new(0), asked: AtomicUsize::new(0) })
    }

    /// So many looks are answered, sooner or later.
    pub(crate) fn answer(&self, looks: usize) {
        self.answers.add_permits(looks);
    }

    /// Looks that were begun.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn wait(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answers.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl SaleBook for SlowSaleBook {
    async fn create(&self, sale: &NewSale, actor: &str) -> Result<Option<Sale>, PortError> {
        self.shop.create(sale, actor).await
    }

    async fn find(&self, sale: SaleId) -> Result<Option<Sale>, PortError> {
        self.wait().await;
        self.shop.find(sale).await
    }

    async fn live(&self) -> Result<Vec<Sale>, PortError> {
        self.wait().await;
        self.shop.live().await
    }

    async fn list(
        &self,
        wanted: SaleFilter,
        after: After<SaleKey>,
    ) -> Result<Stretch<Sale, SaleKey>, PortError> {
        SaleBook::list(&*self.shop, wanted, after).await
    }
}
