//! The sale cache on fakes, and on failing ports.

#![cfg(test)]

use std::time::Duration;

use tokio::task::JoinSet;

use super::cached_sales::MAX_SALES;
use super::*;
use crate::application::catalogue::CatalogueBuilder;
use crate::application::ports::{MockItemReader, MockSaleStore};
use crate::domain::ids::ItemNo;
use crate::domain::sale::{NewSale, Sale, SaleWindow};
use crate::testing::builders::{START, a_sale, at, sale_id, sold_out, unavailable};
use crate::testing::fakes::{FakeClock, SlowSaleStore};
use crate::testing::test_shop::{CACHE_LIMITS, TestShop};

const ALMOST: Duration = Duration::from_millis(999);
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A cache on these sales, one minute after the start of [`a_sale`].
fn cache_on(sales: MockSaleStore) -> (SaleCache, Arc<FakeClock>) {
    let clock = FakeClock::at(at(START + 60));
    let items = Arc::new(MockItemReader::new());
    (SaleCache::new(Arc::new(sales), items, Arc::<FakeClock>::clone(&clock), CACHE_LIMITS), clock)
}

async fn find(test_shop: &TestShop, sale: &Sale) -> Arc<CachedSale> {
    test_shop.sale_cache.find(sale.id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_read_may_refuse_for_less_than_a_second() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    let cached = find(&test_shop, &sale).await;

    test_shop.clock.advance(ALMOST);
    let almost = test_shop.sale_cache.may_refuse(&cached);
    test_shop.clock.advance(Duration::from_millis(1));
    let then = test_shop.sale_cache.may_refuse(&cached);

    assert_eq!((almost, then), (true, false));
}

#[tokio::test]
async fn the_state_is_uncertain_after_an_old_reading() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    let cached = find(&test_shop, &sale).await;

    let fresh = test_shop.sale_cache.state(&cached);
    test_shop.clock.advance(FRESH_FOR);

    assert_eq!((fresh, test_shop.sale_cache.state(&cached)), (Some(SaleState::Open), None));
}

#[tokio::test]
async fn a_reading_is_as_old_as_the_begin_of_its_query() {
    let clock = FakeClock::at(at(START + 60));
    let (slow, mut sales) = (Arc::clone(&clock), MockSaleStore::new());
    sales.expect_live().returning(move || {
        slow.advance(FRESH_FOR);
        Ok(vec![a_sale(1)])
    });
    let items = Arc::new(MockItemReader::new());
    let sale_cache = SaleCache::new(Arc::new(sales), items, clock, CACHE_LIMITS);

    sale_cache.refresh().await.unwrap();

    let cached = sale_cache.find(sale_id(1)).await.unwrap().unwrap();
    assert!(!sale_cache.may_refuse(&cached));
}

#[tokio::test]
async fn while_postgresql_is_down_the_cache_refuses_for_less_than_a_second() {
    let mut sales = MockSaleStore::new();
    sales.expect_live().once().returning(|| Ok(vec![a_sale(1)]));
    sales.expect_live().returning(|| Err(unavailable()));
    let (sale_cache, clock) = cache_on(sales);
    sale_cache.refresh().await.unwrap();
    let cached = sale_cache.find(sale_id(1)).await.unwrap().unwrap();

    clock.advance(FRESH_FOR);
    sale_cache.refresh().await.unwrap_err();

    assert!(!sale_cache.may_refuse(&cached));
}

#[tokio::test]
async fn a_newer_generation_drops_what_was_cached_as_sold_out() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, &[1]));
    test_shop.shop.set_stock(sale.id, ItemNo(1), 2);

    test_shop.sale_cache.refresh().await.unwrap();

    assert!(!find(&test_shop, &sale).await.is_sold_out(ItemNo(1)));
}

#[tokio::test]
async fn the_same_generation_keeps_the_sold_out_items() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, &[1]));

    test_shop.sale_cache.refresh().await.unwrap();

    assert!(find(&test_shop, &sale).await.is_sold_out(ItemNo(1)));
}

#[tokio::test]
async fn facts_of_another_generation_are_ignored() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    test_shop.shop.set_stock(sale.id, ItemNo(1), 2);
    test_shop.sale_cache.refresh().await.unwrap();

    test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, &[1]));
    test_shop.sale_cache.apply_stock(sale.id, &sold_out(3, &[1]));

    assert!(!find(&test_shop, &sale).await.is_sold_out(ItemNo(1)));
}

#[tokio::test]
async fn an_older_generation_does_not_replace_a_newer_one() {
    let mut sales = MockSaleStore::new();
    let newer = Sale { generation: 2, ..a_sale(1) };
    sales.expect_live().once().return_once(move || Ok(vec![newer]));
    sales.expect_live().once().returning(|| Ok(vec![a_sale(1)]));
    let (sale_cache, _) = cache_on(sales);

    sale_cache.refresh().await.unwrap();
    sale_cache.refresh().await.unwrap();

    assert_eq!(sale_cache.find(sale_id(1)).await.unwrap().unwrap().sale.generation, 2);
}

#[tokio::test]
async fn an_item_that_sells_out_twice_counts_once() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;

    test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, &[1]));
    test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, &[1]));

    assert!(!find(&test_shop, &sale).await.all_sold_out());
}

#[tokio::test]
async fn facts_about_unknown_items_are_ignored() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;

    test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, &[0, -1, i32::MIN, 1_000, i32::MAX]));

    assert!(!find(&test_shop, &sale).await.all_sold_out());
}

/// A cache whose sales arrive when the test lets them.
fn cache_on_slow_sales(test_shop: &TestShop) -> (Arc<SaleCache>, Arc<SlowSaleStore>) {
    let sales = SlowSaleStore::of(test_shop.shop());
    let sale_cache = SaleCache::new(
        Arc::<SlowSaleStore>::clone(&sales),
        test_shop.shop(),
        test_shop.clock(),
        CACHE_LIMITS,
    );
    (Arc::new(sale_cache), sales)
}

#[tokio::test]
async fn an_unknown_sale_is_looked_up_once_however_many_ask() {
    let test_shop = TestShop::open();
    let (sale_cache, sales) = cache_on_slow_sales(&test_shop);
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let sale_cache = Arc::clone(&sale_cache);
        all.spawn(async move { sale_cache.find(sale_id(9)).await.unwrap().is_none() });
    }

    sales.allow(50);

    assert!(all.join_all().await.into_iter().all(|is_unknown| is_unknown));
    assert_eq!(sales.calls(), 1);
}

#[tokio::test]
async fn an_unknown_sale_is_looked_up_again_after_a_second() {
    let test_shop = TestShop::open();
    let missing = test_shop.sale_cache.find(sale_id(1)).await.unwrap();
    let sale = test_shop.shop.put(&test_shop.new_sale(2), "test");

    test_shop.clock.advance(ALMOST);
    let remembered = test_shop.sale_cache.find(sale.id).await.unwrap();
    test_shop.clock.advance(Duration::from_millis(1));
    let found = test_shop.sale_cache.find(sale.id).await.unwrap();

    assert!(missing.is_none() && remembered.is_none() && found.is_some());
}

#[tokio::test]
async fn a_failed_look_up_is_not_cached() {
    let mut sales = MockSaleStore::new();
    sales.expect_find().once().returning(|_| Err(unavailable()));
    sales.expect_find().once().returning(|_| Ok(Some(a_sale(1))));
    let (sale_cache, _) = cache_on(sales);

    sale_cache.find(sale_id(1)).await.unwrap_err();

    assert!(sale_cache.find(sale_id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn the_number_of_not_found_ids_is_bounded() {
    let test_shop = TestShop::open();

    for number in 1..=1_000 {
        test_shop.sale_cache.find(sale_id(number)).await.unwrap();
    }

    assert!(test_shop.sale_cache.not_found.len() <= 10);
}

#[tokio::test]
async fn concurrent_requests_for_the_active_sale_share_one_query() {
    let test_shop = TestShop::open();
    test_shop.shop.put(&test_shop.new_sale(1), "test");
    let (sale_cache, sales) = cache_on_slow_sales(&test_shop);
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let sale_cache = Arc::clone(&sale_cache);
        all.spawn(async move { sale_cache.active(None).await.unwrap() });
    }

    sales.allow(50);

    let active = all.join_all().await;
    assert!(active.iter().all(|active| matches!(active, ActiveSale::Found(_))));
    assert_eq!(sales.calls(), 1);
}

#[tokio::test]
async fn a_query_that_began_before_a_request_does_not_answer_it() {
    let test_shop = TestShop::open();
    let (sale_cache, sales) = cache_on_slow_sales(&test_shop);
    let active = || {
        let sale_cache = Arc::clone(&sale_cache);
        async move { matches!(sale_cache.active(None).await.unwrap(), ActiveSale::Found(_)) }
    };
    let mut first = JoinSet::new();
    first.spawn(active());
    tokio::task::yield_now().await;
    test_shop.clock.advance(Duration::from_millis(1));
    first.spawn(active());
    tokio::task::yield_now().await;

    sales.allow(2);

    first.join_all().await;
    assert_eq!(sales.calls(), 2);
}

#[tokio::test]
async fn a_catalogue_is_loaded_once_and_again_after_a_failure() {
    let (mut sales, mut items) = (MockSaleStore::new(), MockItemReader::new());
    sales.expect_live().returning(|| Ok(vec![a_sale(1)]));
    items.expect_catalogue().once().returning(|_| Err(unavailable()));
    items.expect_catalogue().once().returning(|_| Ok(CatalogueBuilder::default().build()));
    let clock = FakeClock::at(at(START + 60));
    let sale_cache = SaleCache::new(Arc::new(sales), Arc::new(items), clock, CACHE_LIMITS);
    sale_cache.refresh().await.unwrap();
    let cached = sale_cache.find(sale_id(1)).await.unwrap().unwrap();

    sale_cache.catalogue(&cached, std::iter::empty()).await.unwrap_err();
    sale_cache.catalogue(&cached, std::iter::empty()).await.unwrap();

    assert!(sale_cache.catalogue(&cached, std::iter::empty()).await.is_ok());
}

#[tokio::test]
async fn a_warm_cache_knows_items_that_sold_out_before_it_started() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    test_shop.bought(&sale, "bob", &[2]).await;

    test_shop.sale_cache.warm().await.unwrap();

    let cached = find(&test_shop, &sale).await;
    assert!(cached.is_sold_out(ItemNo(2)) && cached.loaded_catalogue().is_some());
}

#[tokio::test]
async fn within_the_clocks_error_of_an_edge_the_state_is_uncertain() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    let cached = find(&test_shop, &sale).await;
    // The estimate is a second ahead of the true time, with an error of up to two seconds.
    test_shop.clock.set_offset(1, Duration::from_secs(2));

    let states = [-4, -3, 0, 1].map(|seconds| {
        test_shop.clock.set(sale.window.ends_at() + chrono::Duration::seconds(seconds));
        test_shop.sale_cache.state(&cached)
    });

    assert_eq!(states, [Some(SaleState::Open), None, None, Some(SaleState::Ended)]);
}

#[tokio::test]
async fn before_the_clock_is_measured_the_state_is_uncertain() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    let cached = find(&test_shop, &sale).await;

    test_shop.clock.set_unmeasured();

    assert_eq!(test_shop.sale_cache.state(&cached), None);
    assert!(test_shop.sale_cache.open().is_empty());
}

/// Polls at the interval of the service until this much time has passed.
async fn poll_for(sale_cache: &SaleCache, clock: &FakeClock, time: Duration) {
    let mut passed = Duration::ZERO;
    while passed < time {
        clock.advance(POLL_INTERVAL);
        passed += POLL_INTERVAL;
        sale_cache.refresh().await.unwrap();
    }
}

#[tokio::test]
async fn a_sale_beyond_those_of_a_poll_stays_fresh_while_requests_ask_for_it() {
    let mut sales = MockSaleStore::new();
    sales.expect_live().returning(|| Ok(vec![a_sale(1)]));
    sales.expect_find().once().returning(|_| Ok(Some(a_sale(9))));
    sales.expect_find_all().withf(|ids| ids == [sale_id(9)]).returning(|_| Ok(vec![a_sale(9)]));
    let (sale_cache, clock) = cache_on(sales);
    sale_cache.refresh().await.unwrap();
    sale_cache.find(sale_id(9)).await.unwrap();

    for _ in 0..100 {
        poll_for(&sale_cache, &clock, POLL_INTERVAL).await;

        let cached = sale_cache.find_cached(sale_id(9)).unwrap();
        assert_eq!(sale_cache.state(&cached), Some(SaleState::Open));
    }
}

#[tokio::test]
async fn a_sale_beyond_those_of_a_poll_is_forgotten_when_no_request_asks_for_it() {
    let mut sales = MockSaleStore::new();
    sales.expect_live().returning(|| Ok(vec![a_sale(1)]));
    sales.expect_find().returning(|_| Ok(Some(a_sale(9))));
    sales.expect_find_all().returning(|_| Ok(vec![a_sale(9)]));
    let (sale_cache, clock) = cache_on(sales);
    sale_cache.refresh().await.unwrap();
    sale_cache.find(sale_id(9)).await.unwrap();

    poll_for(&sale_cache, &clock, IDLE_AFTER + POLL_INTERVAL).await;

    assert_eq!(sale_cache.usage().sales, 1);
    assert!(sale_cache.find_cached(sale_id(1)).is_some());
}

#[tokio::test]
async fn a_sale_that_is_gone_is_forgotten_by_the_next_poll() {
    let mut sales = MockSaleStore::new();
    sales.expect_live().returning(|| Ok(Vec::new()));
    sales.expect_find().returning(|_| Ok(Some(a_sale(9))));
    sales.expect_find_all().once().returning(|_| Ok(Vec::new()));
    let (sale_cache, clock) = cache_on(sales);
    sale_cache.refresh().await.unwrap();
    sale_cache.find(sale_id(9)).await.unwrap();

    poll_for(&sale_cache, &clock, POLL_INTERVAL).await;

    assert!(sale_cache.find_cached(sale_id(9)).is_none());
}

#[tokio::test]
async fn a_recent_reading_of_a_sale_is_shared_and_an_older_one_is_read_anew() {
    let mut sales = MockSaleStore::new();
    sales.expect_find().times(2).returning(|_| Ok(Some(a_sale(9))));
    let (sale_cache, clock) = cache_on(sales);
    let age = Duration::from_millis(250);

    for _ in 0..5 {
        sale_cache.find_recent(sale_id(9), age).await.unwrap();
    }
    clock.advance(age);
    sale_cache.find_recent(sale_id(9), age).await.unwrap();
    clock.advance(Duration::from_millis(1));

    assert!(sale_cache.find_recent(sale_id(9), age).await.unwrap().is_some());
}

#[tokio::test]
async fn beyond_its_bound_the_cache_removes_ended_sales() {
    let test_shop = TestShop::open();
    let new = test_shop.new_sale(1);
    let open = test_shop.sale_like(new.clone()).await;
    let past = new.window.starts_at();
    let window = SaleWindow::new(past - chrono::Duration::hours(1), past).unwrap();
    for _ in 0..=MAX_SALES {
        let ended = test_shop.shop.put(&NewSale { window, ..new.clone() }, "test");
        test_shop.sale_cache.find(ended.id).await.unwrap();
    }

    test_shop.sale_cache.refresh().await.unwrap();

    let left = test_shop.sale_cache.cached.len();

    assert!(left <= MAX_SALES, "{left}");
    assert!(test_shop.sale_cache.find_cached(open.id).is_some());
}
