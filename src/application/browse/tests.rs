//! Browse on fakes, and on failing ports.

#![cfg(test)]

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::application::ports::{
    Clock, MockCancellationReader, MockCodeSigner, MockItemReader, MockLedger, MockPurchaseHistory,
    MockSaleStore,
};
use crate::application::purchase::Purchased;
use crate::domain::sale::{NewSale, SaleWindow};
use crate::testing::builders::{attempt_id, buyer, sale_id, settle_of, unavailable};
use crate::testing::fakes::FakePause;
use crate::testing::test_shop::{CACHE_LIMITS, TestShop, codes_of};

const ALL: PageRequest = PageRequest { page: 1, limit: 100 };

fn ports(test_shop: &TestShop) -> BrowsePorts {
    BrowsePorts {
        sale_cache: test_shop.sale_cache(),
        sales: test_shop.shop(),
        items: test_shop.shop(),
        ledger: test_shop.shop(),
        history: test_shop.shop(),
        cancellations: Arc::new(nothing_taken_back()),
        codes: test_shop.codes(),
        pause: Arc::new(FakePause(test_shop.clock())),
        read_cache: None,
    }
}

fn nothing_taken_back() -> MockCancellationReader {
    let mut cancellations = MockCancellationReader::new();
    cancellations.expect_taken_back().returning(|_, _| Ok(Vec::new()));
    cancellations
}

/// Browse on this shop, and the sales of each query for sums that it runs.
fn counted(test_shop: &TestShop) -> (Browse, Arc<Mutex<Vec<Vec<SaleId>>>>) {
    let (shop, queries) = (test_shop.shop(), Arc::<Mutex<Vec<Vec<SaleId>>>>::default());
    let (summed, mut items) = (Arc::clone(&queries), MockItemReader::new());
    items.expect_progress().returning(move |sales| {
        summed.lock().unwrap().push(sales.to_vec());
        Ok(sales.iter().map(|sale| (*sale, shop.progress_of(*sale))).collect())
    });
    (Browse::new(BrowsePorts { items: Arc::new(items), ..ports(test_shop) }), queries)
}

/// Buys an item at this instance.
async fn buys(test_shop: &TestShop, sale: &Sale, who: &str, item: i32) {
    let attempt = test_shop.attempt(sale, who, &[item]).await;
    let purchase = test_shop.purchase();
    let command = purchase.verify_code(test_shop.code(sale, attempt)).await.unwrap().unwrap();
    assert!(matches!(purchase.execute(command).await.unwrap(), Purchased::Settled { .. }));
}

#[tokio::test]
async fn requests_share_a_sum_for_a_quarter_of_a_second() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    let (browse, queries) = counted(&test_shop);
    let sold = async || browse.sale(sale.id).await.unwrap().unwrap().progress.sold;

    let mut seen = vec![sold().await];
    test_shop.bought(&sale, "ann", &[1]).await;
    for millis in [0, 249, 1] {
        test_shop.clock.advance(Duration::from_millis(millis));
        seen.push(sold().await);
    }

    // Another instance sold the item: its purchase is in the next sum.
    assert_eq!(seen, [0, 0, 0, 1]);
    assert_eq!(queries.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_purchase_that_this_instance_has_acknowledged_is_in_the_next_answer() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(9, 1).await;
    let (browse, queries) = counted(&test_shop);
    let sold = async || browse.sale(sale.id).await.unwrap().unwrap().progress.sold;
    let began_at = test_shop.clock.monotonic();

    for item in 1..=8 {
        buys(&test_shop, &sale, "ann", item).await;
        for _ in 0..3 {
            test_shop.clock.advance(Duration::from_millis(1));
            assert_eq!(sold().await, i64::from(item));
        }
    }

    // It waits for its turn: no sale is summed more often than it would be for readers only.
    let passed = test_shop.clock.monotonic().saturating_sub(began_at).as_millis();
    let sums = queries.lock().unwrap().len();
    assert!(sums == 8 && passed >= 7 * MIN_AGE.as_millis(), "{sums} sums in {passed} ms");
}

#[tokio::test]
async fn open_sales_are_added_up_by_one_query() {
    let test_shop = TestShop::open();
    for _ in 0..100 {
        test_shop.shop.put(&test_shop.new_sale(3), "test");
    }
    let (browse, queries) = counted(&test_shop);

    for _ in 0..5 {
        assert_eq!(browse.active().await.unwrap().len(), 100);
        test_shop.clock.advance(Duration::from_millis(50));
    }

    let sizes: Vec<_> = queries.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [100]);
}

#[tokio::test]
async fn a_query_adds_up_a_bounded_number_of_items() {
    let test_shop = TestShop::open();
    for items in [600_000, 300_000, 200_000] {
        let new = NewSale { items: 1, ..test_shop.new_sale(items) };
        let sale = test_shop.shop.put(&new, "test");
        test_shop.shop.set_items(sale.id, items);
    }
    let (browse, queries) = counted(&test_shop);

    assert_eq!(browse.active().await.unwrap().len(), 3);

    let sizes: Vec<_> = queries.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 1]);
}

#[tokio::test]
async fn the_sale_of_a_request_is_read_once_in_a_quarter_of_a_second() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    test_shop.clock.advance(MIN_AGE + Duration::from_millis(1));
    let mut sales = MockSaleStore::new();
    let found = sale.clone();
    sales.expect_find().once().returning(move |_| Ok(Some(found.clone())));
    let clock = test_shop.clock();
    let sale_cache = SaleCache::new(Arc::new(sales), test_shop.shop(), clock, CACHE_LIMITS);
    let browse = Browse::new(BrowsePorts { sale_cache: Arc::new(sale_cache), ..ports(&test_shop) });

    for _ in 0..5 {
        assert!(browse.sale(sale.id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn open_sales_are_listed_and_the_scheduled_one_first() {
    let test_shop = TestShop::open();
    let by_hand = test_shop.sale(3, 1).await;
    let new = test_shop.new_sale(3);
    let scheduled = test_shop.sale_like(NewSale { scheduled: true, ..new.clone() }).await;
    let day = chrono::Duration::hours(20);
    let (start, end) = (new.window.starts_at() + day, new.window.ends_at() + day);
    let window = SaleWindow::new(start, end).unwrap();
    test_shop.sale_like(NewSale { window, ..new }).await;

    let active = Browse::new(ports(&test_shop)).active().await.unwrap();

    let ids: Vec<_> = active.iter().map(|view| view.sale.id).collect();
    assert_eq!(ids, [scheduled.id, by_hand.id]);
}

#[tokio::test]
async fn a_sale_has_its_state_and_its_progress() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 2).await;
    test_shop.bought(&sale, "ann", &[1, 2]).await;

    let view = Browse::new(ports(&test_shop)).sale(sale.id).await.unwrap().unwrap();

    assert_eq!((view.state, view.server_time), (SaleState::Open, test_shop.clock.truth()));
    assert_eq!((view.progress.sold, view.progress.remaining), (2, 4));
}

#[tokio::test]
async fn an_unknown_sale_has_neither_view_nor_items() {
    let test_shop = TestShop::open();
    let browse = Browse::new(ports(&test_shop));

    assert!(browse.sale(sale_id(9)).await.unwrap().is_none());
    assert!(browse.items(sale_id(9), false, ALL).await.unwrap().is_none());
}

#[tokio::test]
async fn items_have_their_remaining_pieces() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    test_shop.bought(&sale, "ann", &[2]).await;

    let page = Browse::new(ports(&test_shop)).items(sale.id, true, ALL).await.unwrap().unwrap();

    let numbers: Vec<_> = page.entries.iter().map(|entry| entry.item.no.0).collect();
    assert_eq!((numbers, page.total), (vec![1, 3], 2));
}

#[tokio::test]
async fn a_purchase_is_found_by_its_code_with_its_items() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    let attempt = test_shop.attempt(&sale, "ann", &[2, 3]).await;
    let browse = Browse::new(ports(&test_shop));

    let before = browse.purchase(test_shop.code(&sale, attempt)).await.unwrap();
    test_shop.shop.settle(settle_of(sale.id, attempt)).await.unwrap();
    let after = browse.purchase(test_shop.code(&sale, attempt)).await.unwrap();

    assert!(matches!(before, PurchaseLookup::NotPurchased));
    let PurchaseLookup::Found(view) = after else { panic!("{after:?}") };
    assert_eq!(view.items.iter().map(|item| item.no.0).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn a_forged_code_is_unknown_without_the_ledger() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    let mut signer = MockCodeSigner::new();
    signer.expect_is_genuine().returning(|_| false);
    let ledger = Arc::new(MockLedger::new());
    let ports = BrowsePorts { codes: codes_of(Arc::new(signer)), ledger, ..ports(&test_shop) };

    let found = Browse::new(ports).purchase(test_shop.code(&sale, attempt_id(1))).await.unwrap();

    assert!(matches!(found, PurchaseLookup::UnknownCode));
}

#[tokio::test]
async fn a_history_contains_the_codes_of_the_purchases() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    let attempt = test_shop.attempt(&sale, "ann", &[2]).await;
    test_shop.shop.settle(settle_of(sale.id, attempt)).await.unwrap();

    let past = Browse::new(ports(&test_shop)).history(&buyer("ann"), None, ALL).await.unwrap();

    assert_eq!((past.total, past.entries[0].code), (1, test_shop.code(&sale, attempt)));
}

#[tokio::test]
async fn each_failing_port_is_an_error() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    let attempt = test_shop.attempt(&sale, "ann", &[2]).await;
    test_shop.shop.settle(settle_of(sale.id, attempt)).await.unwrap();
    let mut sales = MockSaleStore::new();
    sales.expect_live().returning(|| Err(unavailable()));
    let mut ledger = MockLedger::new();
    ledger.expect_outcome().returning(|_, _| Err(unavailable()));
    let mut history = MockPurchaseHistory::new();
    history.expect_of_buyer().returning(|_, _, _| Err(unavailable()));
    let mut items = MockItemReader::new();
    items.expect_progress().returning(|_| Err(unavailable()));
    let (clock, sales) = (test_shop.clock(), Arc::new(sales));
    let blind = Browse::new(BrowsePorts {
        sale_cache: Arc::new(SaleCache::new(sales, test_shop.shop(), clock, CACHE_LIMITS)),
        ledger: Arc::new(ledger),
        history: Arc::new(history),
        ..ports(&test_shop)
    });
    let uncounted = Browse::new(BrowsePorts { items: Arc::new(items), ..ports(&test_shop) });

    assert!(blind.active().await.is_err());
    assert!(blind.purchase(test_shop.code(&sale, attempt)).await.is_err());
    assert!(blind.history(&buyer("ann"), None, ALL).await.is_err());
    assert!(uncounted.sale(sale.id).await.is_err());
}

#[tokio::test]
async fn before_the_clock_is_measured_a_sale_is_an_error() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    test_shop.clock.set_unmeasured();

    assert!(Browse::new(ports(&test_shop)).sale(sale.id).await.is_err());
}
