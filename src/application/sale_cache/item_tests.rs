//! The memory for items: what is loaded, what makes room, and what is looked up instead.

#![cfg(test)]

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::items::MAX_AWAITED_ITEMS;
use super::*;
use crate::application::catalogue::{Catalogue, CatalogueBuilder, Item};
use crate::application::ports::{Cursor, CursorPage, PageRequest, StockSnapshot, StockedItem};
use crate::domain::ids::{ItemId, ItemNo};
use crate::domain::sale::{NewSale, Progress, Sale, SaleWindow};
use crate::testing::builders::{item_id, unavailable};
use crate::testing::test_shop::{CACHE_LIMITS, TestShop};

/// Number of items of a sale.
const ITEMS: i32 = 100;

/// Counts what is read of each sale.
#[derive(Default)]
struct CountingItems {
    catalogues: Mutex<HashMap<SaleId, usize>>,
    stocks: Mutex<HashMap<SaleId, usize>>,
    look_ups: Mutex<Vec<ItemId>>,
}

impl CountingItems {
    fn catalogues(&self, sale: &Sale) -> usize {
        self.catalogues.lock().unwrap().get(&sale.id).copied().unwrap_or(0)
    }

    fn stocks(&self, sale: &Sale) -> usize {
        self.stocks.lock().unwrap().get(&sale.id).copied().unwrap_or(0)
    }

    fn look_ups(&self) -> usize {
        self.look_ups.lock().unwrap().len()
    }
}

#[async_trait]
impl ItemReader for CountingItems {
    async fn catalogue(&self, sale: SaleId) -> Result<Catalogue, PortError> {
        *self.catalogues.lock().unwrap().entry(sale).or_default() += 1;
        Ok(catalogue())
    }

    async fn by_id(&self, _: SaleId, items: &[ItemId]) -> Result<Vec<Item>, PortError> {
        self.look_ups.lock().unwrap().extend(items.iter().cloned());
        Ok((1..=ITEMS)
            .filter_map(|no| catalogue().item(ItemNo(no)))
            .filter(|item| items.contains(&item.id))
            .collect())
    }

    async fn by_number(&self, _: SaleId, _: &[ItemNo]) -> Result<Vec<Item>, PortError> {
        Err(unavailable())
    }

    async fn page(
        &self,
        _: SaleId,
        _: bool,
        _: PageRequest,
    ) -> Result<Vec<StockedItem>, PortError> {
        Err(unavailable())
    }

    async fn list(
        &self,
        _: SaleId,
        _: bool,
        _: Cursor<ItemNo>,
    ) -> Result<CursorPage<StockedItem, ItemNo>, PortError> {
        Err(unavailable())
    }

    async fn progress(&self, _: &[SaleId]) -> Result<Vec<(SaleId, Progress)>, PortError> {
        Err(unavailable())
    }

    async fn sold_out_among(&self, _: SaleId, _: &[ItemNo]) -> Result<StockFacts, PortError> {
        Err(unavailable())
    }

    async fn stock(&self, sale: SaleId) -> Result<StockSnapshot, PortError> {
        *self.stocks.lock().unwrap().entry(sale).or_default() += 1;
        Ok(StockSnapshot::default())
    }
}

fn catalogue() -> Catalogue {
    let mut builder = CatalogueBuilder::default();
    for no in 1..=ITEMS {
        builder.push(ItemNo(no), &no.to_string(), "a name", &no.to_string().repeat(40)).unwrap();
    }
    builder.build()
}

/// A cache with room for the catalogues of two sales.
struct World {
    test_shop: TestShop,
    items: Arc<CountingItems>,
    sale_cache: SaleCache,
}

impl World {
    fn open() -> Self {
        let (test_shop, items) = (TestShop::open(), Arc::<CountingItems>::default());
        let limits = SaleCacheLimits { item_bytes: catalogue().bytes() * 5 / 2, ..CACHE_LIMITS };
        let sale_cache = SaleCache::new(
            test_shop.shop(),
            Arc::<CountingItems>::clone(&items),
            test_shop.clock(),
            limits,
        );
        Self { test_shop, items, sale_cache }
    }

    /// Open sales, none of them scheduled.
    async fn sales(&self, count: usize) -> Vec<Sale> {
        let new = self.test_shop.new_sale(ITEMS);
        let sales = (0..count).map(|_| self.test_shop.shop.put(&new, "test")).collect();
        self.sale_cache.refresh().await.unwrap();
        sales
    }

    /// A request for an item of the sale.
    async fn asks_for(&self, sale: &Sale) {
        let cached = self.sale_cache.find(sale.id).await.unwrap().unwrap();
        let ids = [item_id("7")];
        let found = self.sale_cache.catalogue(&cached, ids.iter()).await.unwrap();
        assert_eq!(found.find(&ids[0]), Some(ItemNo(7)));
    }

    async fn passes(&self, time: Duration) {
        self.test_shop.clock.advance(time);
        self.sale_cache.refresh().await.unwrap();
    }
}

#[tokio::test]
async fn items_of_several_open_sales_are_loaded_when_a_request_needs_them() {
    let world = World::open();
    let sales = world.sales(2).await;

    world.sale_cache.warm_active().await.unwrap();
    world.sale_cache.warm().await.unwrap();
    let before = world.sale_cache.usage();
    for _ in 0..3 {
        world.asks_for(&sales[1]).await;
        world.sale_cache.warm().await.unwrap();
    }

    assert_eq!((before.sales, before.catalogues, before.item_bytes), (2, 0, 0));
    assert_eq!((world.items.catalogues(&sales[0]), world.items.stocks(&sales[0])), (0, 0));
    assert_eq!((world.items.catalogues(&sales[1]), world.items.stocks(&sales[1])), (1, 1));
    assert_eq!(world.items.look_ups(), 0);
}

#[tokio::test]
async fn the_sale_of_now_and_the_next_one_are_loaded_ahead() {
    let world = World::open();
    let new = world.test_shop.new_sale(ITEMS);
    let later = |hours| {
        let by = chrono::Duration::hours(hours);
        let (start, end) = (new.window.starts_at() + by, new.window.ends_at() + by);
        let window = SaleWindow::new(start, end).unwrap();
        world.test_shop.shop.put(&NewSale { window, ..new.clone() }, "test")
    };
    let (after_next, next) = (later(5), later(3));
    let now = world.sales(1).await.remove(0);

    world.sale_cache.warm_active().await.unwrap();
    let at_the_start = world.items.catalogues(&next);
    for _ in 0..3 {
        world.sale_cache.warm().await.unwrap();
    }

    assert_eq!(at_the_start, 0);
    let loaded = [&now, &next, &after_next].map(|sale| world.items.catalogues(sale));
    assert_eq!(loaded, [1, 1, 0]);
}

#[tokio::test]
async fn the_items_of_the_sale_that_was_not_used_for_the_longest_make_room() {
    let world = World::open();
    let sales = world.sales(3).await;
    world.asks_for(&sales[1]).await;
    world.passes(Duration::from_secs(1)).await;
    world.asks_for(&sales[0]).await;
    world.passes(IDLE_AFTER).await;

    world.asks_for(&sales[2]).await;
    world.asks_for(&sales[0]).await;

    let loaded = [0, 1, 2].map(|sale| world.items.catalogues(&sales[sale]));
    assert_eq!((loaded, world.items.look_ups()), ([1, 1, 1], 0));
    world.asks_for(&sales[1]).await;
    assert_eq!(world.items.look_ups(), 1);
}

#[tokio::test]
async fn items_in_use_stay_and_where_there_is_no_room_a_request_looks_its_items_up() {
    let world = World::open();
    let sales = world.sales(6).await;

    for _ in 0..5 {
        for sale in &sales {
            world.asks_for(sale).await;
        }
        world.passes(Duration::from_millis(500)).await;
        world.sale_cache.warm().await.unwrap();
    }

    let usage = world.sale_cache.usage();
    assert!(usage.item_bytes <= catalogue().bytes() * 5 / 2, "{usage:?}");
    let loads: usize = sales.iter().map(|sale| world.items.catalogues(sale)).sum();
    assert_eq!((usage.catalogues, loads, world.items.look_ups()), (2, 2, 4 * 5));
}

#[tokio::test]
async fn a_catalogue_larger_than_the_memory_is_loaded_alone() {
    let world = World::open();
    let limits = SaleCacheLimits { item_bytes: 1, ..CACHE_LIMITS };
    let items = Arc::<CountingItems>::clone(&world.items);
    let sale_cache = SaleCache::new(world.test_shop.shop(), items, world.test_shop.clock(), limits);
    let world = World { sale_cache, ..world };
    let sales = world.sales(2).await;

    for _ in 0..3 {
        world.asks_for(&sales[0]).await;
        world.asks_for(&sales[1]).await;
        world.passes(Duration::from_millis(500)).await;
    }

    let loaded = [0, 1].map(|sale| world.items.catalogues(&sales[sale]));
    assert_eq!((loaded, world.items.look_ups()), ([1, 0], 3));
}

#[tokio::test]
async fn no_request_waits_for_a_large_catalogue() {
    let world = World::open();
    let limits = SaleCacheLimits { item_bytes: 1_000_000_000, ..CACHE_LIMITS };
    let items = Arc::<CountingItems>::clone(&world.items);
    let sale_cache = SaleCache::new(world.test_shop.shop(), items, world.test_shop.clock(), limits);
    let world = World { sale_cache, ..world };
    world.sales(1).await;
    let new = world.test_shop.new_sale(MAX_AWAITED_ITEMS + 1);
    let large = world.test_shop.shop.put(&new, "test");
    world.sale_cache.refresh().await.unwrap();

    world.asks_for(&large).await;
    let meanwhile = (world.items.catalogues(&large), world.items.look_ups());
    world.sale_cache.warm().await.unwrap();
    world.asks_for(&large).await;

    assert_eq!(meanwhile, (0, 1));
    assert_eq!((world.items.catalogues(&large), world.items.look_ups()), (1, 1));
}

#[tokio::test]
async fn an_ended_sale_leaves_no_items_in_memory() {
    let world = World::open();
    let sales = world.sales(2).await;
    world.asks_for(&sales[0]).await;

    world.passes(Duration::from_hours(1)).await;
    world.sale_cache.find(sales[0].id).await.unwrap();
    world.sale_cache.warm().await.unwrap();

    assert_eq!(world.sale_cache.usage().catalogues, 0);
}
