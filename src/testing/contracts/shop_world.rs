//! What the suites of selling need beside the ports: databases, and instances to sell in.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::application::ports::{
    BuyerTotalsReader, CheckoutStore, IdempotencyStore, Inspector, ItemReader, Ledger,
    PurchaseHistory, SaleStore,
};
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, BuyerId, ItemNo, SaleId};
use crate::domain::sale::SaleWindow;
use crate::testing::builders::at;
use crate::testing::fakes::{FakeClock, FakeShop};

/// One database with any number of instances.
#[async_trait]
pub(crate) trait ShopWorld: Send + Sync {
    /// One more instance.
    async fn instance(&self) -> Instance;

    /// The database's time.
    async fn now(&self) -> DateTime<Utc>;

    /// Moves a sale's window, under a new generation.
    async fn move_window(&self, sale: SaleId, window: SaleWindow);

    /// Archives a sale, whose rows stay for a while.
    async fn archive(&self, sale: SaleId);

    /// Sets how many pieces an item has, under a new generation.
    async fn set_stock(&self, sale: SaleId, item: ItemNo, pieces: i32);

    /// Adds an attempt with these lines beside the buyer's open one.
    async fn extra_attempt(&self, sale: SaleId, buyer: &BuyerId, lines: &[Line]) -> AttemptId;

    /// The actors that the audit names for the sale's creation.
    async fn created_by(&self, sale: SaleId) -> Vec<String>;
}

/// The ports of one instance.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) checkouts: Arc<dyn CheckoutStore>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) sales: Arc<dyn SaleStore>,
    pub(crate) items: Arc<dyn ItemReader>,
    pub(crate) history: Arc<dyn PurchaseHistory>,
    pub(crate) keys: Arc<dyn IdempotencyStore>,
}

/// What a sale sells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) items: i32,
    pub(crate) stock: i32,
    pub(crate) buyer_limit: i32,
}

impl Terms {
    /// `items` items with one piece each, ten pieces a buyer.
    pub(crate) const fn unique(items: i32) -> Self {
        Self { items, stock: 1, buyer_limit: 10 }
    }

    /// `items` items with `stock` pieces each, ten pieces a buyer.
    pub(crate) const fn stocked(items: i32, stock: i32) -> Self {
        Self { items, stock, buyer_limit: 10 }
    }
}

/// The fake shop.
pub(crate) struct FakeShopWorld {
    clock: Arc<FakeClock>,
    shop: Arc<FakeShop>,
}

impl FakeShopWorld {
    pub(crate) fn open() -> Self {
        let clock = FakeClock::at(at(100_000));
        let shop = FakeShop::new(Arc::clone(&clock));
        Self { clock, shop }
    }

    /// The inspector of the shop.
    pub(crate) fn inspector(&self) -> Arc<dyn Inspector> {
        self.shop.clone()
    }

    pub(crate) fn buyer_totals(&self) -> Arc<dyn BuyerTotalsReader> {
        self.shop.clone()
    }
}

#[async_trait]
impl ShopWorld for FakeShopWorld {
    async fn instance(&self) -> Instance {
        Instance {
            checkouts: self.shop.clone(),
            ledger: self.shop.clone(),
            sales: self.shop.clone(),
            items: self.shop.clone(),
            history: self.shop.clone(),
            keys: self.shop.clone(),
        }
    }

    async fn now(&self) -> DateTime<Utc> {
        self.clock.truth()
    }

    async fn move_window(&self, sale: SaleId, window: SaleWindow) {
        self.shop.move_window(sale, window);
    }

    async fn archive(&self, sale: SaleId) {
        self.shop.archive(sale);
    }

    async fn set_stock(&self, sale: SaleId, item: ItemNo, pieces: i32) {
        self.shop.set_stock(sale, item, pieces);
    }

    async fn extra_attempt(&self, sale: SaleId, buyer: &BuyerId, lines: &[Line]) -> AttemptId {
        self.shop.extra_attempt(sale, buyer.clone(), lines)
    }

    async fn created_by(&self, sale: SaleId) -> Vec<String> {
        vec![self.shop.created_by(sale)]
    }
}
