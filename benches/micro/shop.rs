//! A sale cache with one open sale, and a checkout that must refuse from memory, because every other port fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use flash_sale::application::catalogue::{Catalogue, CatalogueBuilder, Item};
use flash_sale::application::checkout::{Checkout, CheckoutPorts};
use flash_sale::application::codes::{Codes, CodesPorts};
use flash_sale::application::ports::{
    BusinessMetrics, CheckoutStore, Clock, Collect, Collected, CommittedTotals, Cursor, CursorPage,
    Done, EpochReader, FilterResult, FoundCheckout, Hint, HintCache, ItemReader, Keyed,
    KeyedRequest, PageRequest, PortError, PrecheckRequest, PurchaseAnswer, RefusalFlush,
    RefusalReason, RefusalStore, SaleFilter, SaleKey, SaleStore, SoldOutHint, StockFacts,
    StockSnapshot, StockedItem,
};
use flash_sale::application::refusals::{DetailBudget, Refusals};
use flash_sale::application::sale_cache::{CachedSale, SaleCache, SaleCacheLimits};
use flash_sale::bench::signer;
use flash_sale::config::CodeKey;
use flash_sale::domain::ids::{AttemptId, ItemId, ItemNo, SaleId};
use flash_sale::domain::sale::{ClockReading, NewSale, Progress, Sale, SaleWindow};

/// Unix time of the sale's start; the clock is a minute later.
const START: i64 = 1_795_000_000;
/// Room for the largest sale.
const LIMITS: SaleCacheLimits = SaleCacheLimits { not_found: 1, item_bytes: 1 << 30 };

/// The only sale in the cache, with every second item sold out, and a checkout that uses it.
pub(crate) struct Shop {
    pub(crate) known: Arc<CachedSale>,
    pub(crate) checkout: Checkout,
}

/// The ports behind the cache: one sale with this many items, at a fixed time.
struct World {
    items: i32,
}

impl Shop {
    pub(crate) fn open(items: i32) -> Self {
        let world = Arc::new(World { items });
        let (sales, reader, clock) = (Arc::clone(&world), Arc::clone(&world), Arc::clone(&world));
        let sale_cache = Arc::new(SaleCache::new(sales, reader, clock, LIMITS));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let known = runtime.block_on(async {
            sale_cache.refresh().await.unwrap();
            sale_cache.warm().await.unwrap();
            sale_cache.find(SaleId::new(1).unwrap()).await.unwrap().unwrap()
        });
        // Details are dropped, as in a storm of refusals.
        let room = DetailBudget { burst: 0, refill: 0 };
        let key = CodeKey { id: "bench".to_owned(), secret: "YmVuY2g=".into() };
        let (checkouts, hints, store, epochs, business_metrics) =
            (Arc::clone(&world), Arc::clone(&world), Arc::clone(&world), Arc::clone(&world), world);
        let refusals = Arc::new(Refusals::new(store, room));
        let codes = Arc::new(Codes::new(CodesPorts {
            signer: signer(key).unwrap(),
            history: Arc::default(),
            epochs: Arc::<World>::clone(&epochs),
            clock: epochs,
        }));
        let ports =
            CheckoutPorts { sale_cache, checkouts, hints, codes, refusals, business_metrics };
        Self { known, checkout: Checkout::new(ports) }
    }
}

fn away<T>() -> Result<T, PortError> {
    Err(PortError::Overloaded("a benchmark"))
}

#[async_trait]
impl SaleStore for World {
    async fn create(&self, _: &NewSale, _: &str) -> Result<Option<Sale>, PortError> {
        away()
    }

    async fn find(&self, _: SaleId) -> Result<Option<Sale>, PortError> {
        away()
    }

    async fn is_archived(&self, _: SaleId) -> Result<bool, PortError> {
        Ok(false)
    }

    async fn find_all(&self, _: &[SaleId]) -> Result<Vec<Sale>, PortError> {
        away()
    }

    async fn live(&self) -> Result<Vec<Sale>, PortError> {
        let starts_at = DateTime::from_timestamp(START, 0).unwrap();
        Ok(vec![Sale {
            id: SaleId::new(1).unwrap(),
            name: "bench".to_owned(),
            scheduled: false,
            window: SaleWindow::lasting(starts_at, Duration::from_hours(1)).unwrap(),
            buyer_limit: 10,
            items: self.items,
            generation: 1,
        }])
    }

    async fn list(
        &self,
        _: SaleFilter,
        _: Cursor<SaleKey>,
    ) -> Result<CursorPage<Sale, SaleKey>, PortError> {
        away()
    }
}

#[async_trait]
impl ItemReader for World {
    async fn catalogue(&self, _: SaleId) -> Result<Catalogue, PortError> {
        let mut catalogue = CatalogueBuilder::default();
        for number in 1..=self.items {
            let image_url = format!("https://picsum.photos/seed/1-{number}/400");
            let (id, name) = (number.to_string(), format!("Item {number}"));
            catalogue.push(ItemNo(number), &id, &name, &image_url).unwrap();
        }
        Ok(catalogue.build())
    }

    async fn by_id(&self, _: SaleId, _: &[ItemId]) -> Result<Vec<Item>, PortError> {
        away()
    }

    async fn by_number(&self, _: SaleId, _: &[ItemNo]) -> Result<Vec<Item>, PortError> {
        away()
    }

    async fn page(
        &self,
        _: SaleId,
        _: bool,
        _: PageRequest,
    ) -> Result<Vec<StockedItem>, PortError> {
        away()
    }

    async fn list(
        &self,
        _: SaleId,
        _: bool,
        _: Cursor<ItemNo>,
    ) -> Result<CursorPage<StockedItem, ItemNo>, PortError> {
        away()
    }

    async fn progress(&self, _: &[SaleId]) -> Result<Vec<(SaleId, Progress)>, PortError> {
        away()
    }

    async fn sold_out_among(&self, _: SaleId, _: &[ItemNo]) -> Result<StockFacts, PortError> {
        away()
    }

    async fn stock(&self, _: SaleId) -> Result<StockSnapshot, PortError> {
        let sold_out = (2..=self.items).step_by(2).map(ItemNo).collect();
        let facts = StockFacts { generation: 1, sold_out, sold: Vec::new() };
        Ok(StockSnapshot { facts, pieces: self.items.into() })
    }
}

#[async_trait]
impl EpochReader for World {
    async fn read(&self) -> Result<(), PortError> {
        away()
    }
}

impl Clock for World {
    fn database(&self) -> Option<ClockReading> {
        let at = DateTime::from_timestamp(START + 60, 0)?;
        Some(ClockReading { at, error: Duration::from_millis(1) })
    }

    fn monotonic(&self) -> Duration {
        Duration::from_mins(1)
    }
}

#[async_trait]
impl CheckoutStore for World {
    async fn collect(&self, _: Collect) -> Result<Collected, PortError> {
        away()
    }

    async fn collect_keyed(
        &self,
        _: Collect,
        _: KeyedRequest,
    ) -> Result<Keyed<Collected, Done>, PortError> {
        away()
    }

    async fn find(&self, _: SaleId, _: AttemptId) -> Result<Option<FoundCheckout>, PortError> {
        away()
    }
}

#[async_trait]
impl HintCache for World {
    async fn precheck(&self, _: PrecheckRequest) -> Result<Hint, PortError> {
        away()
    }

    fn update_totals(&self, _: CommittedTotals) {}

    fn update_stock(&self, _: &Arc<Sale>, _: StockFacts) {}
}

#[async_trait]
impl RefusalStore for World {
    async fn append(&self, _: &RefusalFlush) -> Result<(), PortError> {
        away()
    }
}

impl BusinessMetrics for World {
    fn sold_out_hints(&self, _: SoldOutHint, _: usize) {}

    fn checkout(&self, _: Option<RefusalReason>) {}

    fn purchase(&self, _: PurchaseAnswer) {}

    fn sold(&self, _: i32) {}

    fn refused(&self, _: RefusalReason) {}

    fn filter(&self, _: FilterResult) {}
}
