//! Browse on fakes, and on failing ports.

#![cfg(test)]

use super::*;
use crate::application::ports::{
    MockCodeSigner, MockItemReader, MockLedger, MockPurchaseHistory, MockSaleStore,
};
use crate::domain::sale::{NewSale, SaleWindow};
use crate::testing::builders::{attempt_id, buyer, sale_id, settle_of, unavailable};
use crate::testing::test_shop::{TestShop, codes_of};

const ALL: PageRequest = PageRequest { page: 1, limit: 100 };

fn ports(test_shop: &TestShop) -> BrowsePorts {
    BrowsePorts {
        sale_cache: test_shop.sale_cache(),
        sales: test_shop.shop(),
        items: test_shop.shop(),
        ledger: test_shop.shop(),
        history: test_shop.shop(),
        codes: test_shop.codes(),
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
    let blind = Browse::new(BrowsePorts {
        sales: Arc::new(sales),
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
