//! Checkout on fakes, and on failing ports.

#![cfg(test)]

use std::time::Duration;

use super::*;
use crate::application::ports::{
    Ledger, MockCheckoutStore, MockHintCache, MockItemReader, MockSaleStore,
};
use crate::domain::sale::{NewSale, SaleWindow};
use crate::testing::builders::{
    a_sale, buyer, collect, item_id, line, over_limit, pieces, sale_id, sold_out, unavailable,
};
use crate::testing::fakes::Counted;
use crate::testing::test_shop::{CACHE_LIMITS, TestShop};

fn wanted(item: &str, quantity: i32) -> RequestedLine {
    RequestedLine { item: item_id(item), quantity: pieces(quantity) }
}

fn command(sale: Option<&Sale>, item: &str, quantity: i32) -> CheckoutCommand {
    CheckoutCommand {
        buyer: buyer("ann"),
        line_change: LineChange::Set(vec![wanted(item, quantity)]),
        sale: sale.map(|sale| sale.id),
        attempt: None,
        tags: None,
    }
}

async fn checkout(ports: CheckoutPorts, command: &CheckoutCommand) -> CheckoutAnswer {
    Checkout::new(ports).execute(command).await.unwrap()
}

fn reason(answer: &CheckoutAnswer) -> Option<RefusalReason> {
    match answer {
        CheckoutAnswer::Refused(CheckoutRefusal::BySale { reason, .. }) => Some(*reason),
        CheckoutAnswer::Accepted { .. } => None,
        CheckoutAnswer::Refused(other) => panic!("{other:?}"),
    }
}

/// A store that must not be called.
fn unused_store() -> Arc<dyn CheckoutStore> {
    Arc::new(MockCheckoutStore::new())
}

fn cache_with_hint(hint: Hint) -> Arc<dyn HintCache> {
    let mut hints = MockHintCache::new();
    hints.expect_precheck().returning(move |_| Ok(hint));
    hints.expect_update_totals().return_const(());
    Arc::new(hints)
}

#[tokio::test]
async fn an_accepted_checkout_returns_its_code() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 1).await;

    let answer = checkout(test_shop.checkout_ports(), &command(Some(&sale), "2", 1)).await;

    let CheckoutAnswer::Accepted { code, lines, .. } = answer else { panic!("{answer:?}") };
    assert!(test_shop.codes().is_genuine(&code).await.unwrap());
    let Collected::Added { attempt, .. } =
        test_shop.shop.collect(collect(sale.id, "ann", 3, 1)).await.unwrap()
    else {
        panic!("item 3 is there")
    };
    assert_eq!((code.sale, code.attempt, lines.len()), (sale.id, attempt, 1));
}

#[tokio::test]
async fn the_totals_of_an_accepted_checkout_are_in_the_hint_cache() {
    let test_shop = TestShop::open();
    let sale = Arc::new(test_shop.sale(5, 50).await);
    test_shop.sale_cache.refresh().await.unwrap();
    checkout(test_shop.checkout_ports(), &command(Some(&sale), "2", 9)).await;

    let line = line(3, 2);
    let hint = test_shop
        .hints
        .precheck(PrecheckRequest { sale, buyer: buyer("ann"), line })
        .await
        .unwrap();

    assert!(matches!(hint, Hint::OverLimit { .. }), "{hint:?}");
}

#[tokio::test]
async fn before_the_start_and_after_the_end_the_store_is_not_called() {
    let test_shop = TestShop::open();
    let open = test_shop.new_sale(5);
    let (start, end) = (open.window.starts_at(), open.window.ends_at());
    let day = chrono::Duration::days(1);
    for (window, expected) in [
        (SaleWindow::new(start + day / 2, end + day / 2), RefusalReason::NotStarted),
        (SaleWindow::new(start - day, start), RefusalReason::Ended),
    ] {
        let sale = test_shop.sale_like(NewSale { window: window.unwrap(), ..open.clone() }).await;
        // Ended sales are not live: a look-up caches them.
        test_shop.sale_cache.find(sale.id).await.unwrap();
        let ports = CheckoutPorts { checkouts: unused_store(), ..test_shop.checkout_ports() };

        let answer = checkout(ports, &command(Some(&sale), "1", 1)).await;

        assert_eq!(reason(&answer), Some(expected));
        assert_eq!(test_shop.refused(&sale).await, [(Operation::Checkout, expected, 1)]);
    }
}

#[tokio::test]
async fn inside_the_clocks_error_the_store_decides_and_no_buyer_is_refused_from_memory() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 1).await;
    test_shop.clock.set(sale.window.ends_at() - chrono::Duration::seconds(1));
    test_shop.clock.set_offset(2, Duration::from_secs(3));

    let answer = checkout(test_shop.checkout_ports(), &command(Some(&sale), "1", 1)).await;

    assert_eq!(reason(&answer), None);
}

#[tokio::test]
async fn a_quantity_beyond_the_limit_returns_the_limit_and_is_not_recorded() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 50).await;
    let ports = CheckoutPorts { checkouts: unused_store(), ..test_shop.checkout_ports() };

    let answer = checkout(ports, &command(Some(&sale), "1", 11)).await;

    assert!(matches!(answer, CheckoutAnswer::Refused(CheckoutRefusal::QuantityBeyondLimit(10))));
    assert_eq!(test_shop.refused(&sale).await, []);
}

#[tokio::test]
async fn an_unknown_item_is_refused_without_the_store() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 1).await;
    let ports = CheckoutPorts { checkouts: unused_store(), ..test_shop.checkout_ports() };

    let answer = checkout(ports, &command(Some(&sale), "6", 1)).await;

    assert_eq!(reason(&answer), Some(RefusalReason::ItemNotFound));
}

#[tokio::test]
async fn an_item_that_is_cached_as_sold_out_is_refused_without_any_port() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    for (items, expected) in
        [(&[1][..], RefusalReason::ItemSoldOut), (&[1, 2], RefusalReason::SaleSoldOut)]
    {
        test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, items));
        let hints = Arc::new(MockHintCache::new());
        let ports =
            CheckoutPorts { checkouts: unused_store(), hints, ..test_shop.checkout_ports() };

        let answer = checkout(ports, &command(Some(&sale), "1", 1)).await;

        assert_eq!(reason(&answer), Some(expected));
    }
}

#[tokio::test]
async fn a_reading_that_is_a_second_old_refuses_no_checkout() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    test_shop.sale_cache.apply_stock(sale.id, &sold_out(1, &[1]));
    test_shop.clock.advance(Duration::from_secs(1));

    let answer = checkout(test_shop.checkout_ports(), &command(Some(&sale), "1", 1)).await;

    assert_eq!(reason(&answer), None);
}

#[tokio::test]
async fn an_item_that_the_store_refuses_as_sold_out_is_then_refused_from_memory() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    test_shop.bought(&sale, "bob", &[1]).await;
    let first = checkout(test_shop.checkout_ports(), &command(Some(&sale), "1", 1)).await;
    let ports = CheckoutPorts { checkouts: unused_store(), ..test_shop.checkout_ports() };

    let second = checkout(ports, &command(Some(&sale), "1", 1)).await;

    assert_eq!(reason(&first), Some(RefusalReason::ItemSoldOut));
    assert_eq!(reason(&second), Some(RefusalReason::ItemSoldOut));
}

#[tokio::test]
async fn no_hint_alone_refuses_a_buyer() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 1).await;
    for hint in [
        Hint::Clear,
        Hint::ItemInFilter,
        Hint::OverLimit { version: 1 },
        Hint::SaleSoldOut,
        Hint::Cold,
    ] {
        let hints = cache_with_hint(hint);
        let ports = CheckoutPorts { hints, ..test_shop.checkout_ports() };

        let answer = checkout(ports, &command(Some(&sale), "1", 1)).await;

        assert_eq!(reason(&answer), None, "{hint:?}");
    }
}

#[tokio::test]
async fn a_false_positive_of_the_filter_is_counted_as_one() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 1).await;
    let hints = cache_with_hint(Hint::ItemInFilter);

    let ports = CheckoutPorts { hints, ..test_shop.checkout_ports() };
    checkout(ports, &command(Some(&sale), "1", 1)).await;

    assert_eq!(test_shop.business_metrics.count(Counted::Filter(FilterResult::FalsePositive)), 1);
}

#[tokio::test]
async fn repeated_requests_at_the_limit_cost_one_query_per_second() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 50).await;
    let mut checkouts = MockCheckoutStore::new();
    checkouts.expect_collect().times(2).returning(|_| Ok(over_limit(4, 6)));
    let hints = cache_with_hint(Hint::OverLimit { version: 1 });
    let ports =
        CheckoutPorts { checkouts: Arc::new(checkouts), hints, ..test_shop.checkout_ports() };
    let checkout_use_case = Checkout::new(ports);

    for _ in 0..20 {
        checkout_use_case.execute(&command(Some(&sale), "1", 1)).await.unwrap();
        test_shop.clock.advance(Duration::from_millis(100));
    }

    let expected = (Operation::Checkout, RefusalReason::BuyerLimit, 20);
    assert_eq!(test_shop.refused(&sale).await, [expected]);
}

#[tokio::test]
async fn a_confirmed_refusal_needs_a_hint_of_the_same_version() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 50).await;
    let one = Checkout::new(test_shop.checkout_ports());
    one.execute(&command(Some(&sale), "1", 8)).await.unwrap();
    one.execute(&command(Some(&sale), "2", 5)).await.unwrap();

    let answer = one.execute(&command(Some(&sale), "2", 2)).await.unwrap();

    assert_eq!(reason(&answer), None);
}

#[tokio::test]
async fn a_cache_that_is_away_stops_no_caller() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 1).await;
    let mut hints = MockHintCache::new();
    hints.expect_precheck().returning(|_| Err(unavailable()));
    hints.expect_update_totals().return_const(());
    let ports = CheckoutPorts { hints: Arc::new(hints), ..test_shop.checkout_ports() };

    let answer = checkout(ports, &command(Some(&sale), "1", 1)).await;

    assert_eq!(reason(&answer), None);
}

#[tokio::test]
async fn an_unavailable_store_is_an_error_and_a_refusal_on_record() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 1).await;
    let mut checkouts = MockCheckoutStore::new();
    checkouts.expect_collect().returning(|_| Err(unavailable()));
    let ports = CheckoutPorts { checkouts: Arc::new(checkouts), ..test_shop.checkout_ports() };

    let answer = Checkout::new(ports).execute(&command(Some(&sale), "1", 1)).await;

    assert!(matches!(answer, Err(PortError::Unavailable { .. })));
    let expected = (Operation::Checkout, RefusalReason::Unavailable, 1);
    assert_eq!(test_shop.refused(&sale).await, [expected]);
}

#[tokio::test]
async fn an_unavailable_catalogue_is_an_error_and_a_refusal_on_record() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 1).await;
    let mut items = MockItemReader::new();
    items.expect_catalogue().returning(|_| Err(unavailable()));
    let clock = test_shop.clock();
    let sale_cache =
        Arc::new(SaleCache::new(test_shop.shop(), Arc::new(items), clock, CACHE_LIMITS));
    let ports = CheckoutPorts { sale_cache, ..test_shop.checkout_ports() };

    let answer = Checkout::new(ports).execute(&command(Some(&sale), "1", 1)).await;

    assert!(matches!(answer, Err(PortError::Unavailable { .. })));
    let expected = (Operation::Checkout, RefusalReason::Unavailable, 1);
    assert_eq!(test_shop.refused(&sale).await, [expected]);
}

#[tokio::test]
async fn sales_that_cannot_be_read_are_an_error() {
    let test_shop = TestShop::open();
    let mut sales = MockSaleStore::new();
    sales.expect_find().returning(|_| Err(unavailable()));
    sales.expect_live().returning(|| Err(unavailable()));
    let clock = test_shop.clock();
    let sale_cache =
        Arc::new(SaleCache::new(Arc::new(sales), test_shop.shop(), clock, CACHE_LIMITS));
    let ports = CheckoutPorts { sale_cache, ..test_shop.checkout_ports() };
    let blind = Checkout::new(ports);

    let implicit = blind.execute(&command(None, "1", 1)).await;
    let named =
        blind.execute(&CheckoutCommand { sale: Some(sale_id(1)), ..command(None, "1", 1) }).await;

    assert!(implicit.is_err() && named.is_err());
}

#[tokio::test]
async fn an_unknown_sale_is_not_found_and_not_recorded() {
    let test_shop = TestShop::open();
    let sale = a_sale(7);

    let answer = checkout(test_shop.checkout_ports(), &command(Some(&sale), "1", 1)).await;

    assert!(matches!(answer, CheckoutAnswer::Refused(CheckoutRefusal::SaleNotFound)));
    assert_eq!(test_shop.refused(&sale).await, []);
}

#[tokio::test]
async fn a_request_without_a_sale_means_the_scheduled_sale_or_the_only_one() {
    let test_shop = TestShop::open();
    let wanted = command(None, "1", 1);
    let sale_of = |answer: &CheckoutAnswer| match answer {
        CheckoutAnswer::Accepted { sale, .. } => Some(sale.id),
        CheckoutAnswer::Refused(_) => None,
    };

    let none = checkout(test_shop.checkout_ports(), &wanted).await;
    let only = test_shop.sale(5, 9).await;
    let one = checkout(test_shop.checkout_ports(), &wanted).await;
    test_shop.sale(5, 9).await;
    let several = checkout(test_shop.checkout_ports(), &wanted).await;
    let by_schedule = NewSale { scheduled: true, ..test_shop.new_sale(5) };
    let scheduled = test_shop.sale_like(by_schedule).await;
    let all = checkout(test_shop.checkout_ports(), &wanted).await;

    assert!(matches!(none, CheckoutAnswer::Refused(CheckoutRefusal::NoActiveSale)));
    assert_eq!(sale_of(&one), Some(only.id));
    assert!(matches!(several, CheckoutAnswer::Refused(CheckoutRefusal::SaleIdRequired)));
    assert_eq!(sale_of(&all), Some(scheduled.id));
}

/// Two consecutive scheduled sales at the edge between them; the clock is a second behind, within its error.
async fn at_the_hours_edge() -> (TestShop, Sale, Sale) {
    let test_shop = TestShop::open();
    let first = NewSale { scheduled: true, ..test_shop.new_sale(5) };
    let edge = first.window.ends_at();
    let window = SaleWindow::lasting(edge, Duration::from_hours(1)).unwrap();
    let second = test_shop.shop.put(&NewSale { window, ..first.clone() }, "test");
    let first = test_shop.sale_like(first).await;
    test_shop.clock.set(edge);
    test_shop.clock.set_offset(-1, Duration::from_secs(2));
    (test_shop, first, second)
}

#[tokio::test]
async fn at_the_hours_edge_the_other_sale_is_tried() {
    let (test_shop, _, second) = at_the_hours_edge().await;

    let answer = checkout(test_shop.checkout_ports(), &command(None, "1", 1)).await;

    assert!(matches!(answer, CheckoutAnswer::Accepted { sale, .. } if sale.id == second.id));
}

#[tokio::test]
async fn at_the_hours_edge_an_accepted_checkout_is_not_on_record_as_refused() {
    let (test_shop, first, _) = at_the_hours_edge().await;

    checkout(test_shop.checkout_ports(), &command(None, "1", 1)).await;

    assert_eq!(test_shop.refused(&first).await, []);
}

#[tokio::test]
async fn checkouts_of_one_buyer_at_once_have_one_code() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(8, 9).await;
    let all = Arc::new(Checkout::new(test_shop.checkout_ports()));
    let mut race = tokio::task::JoinSet::new();
    for item in 1..=8 {
        let (all, command) = (Arc::clone(&all), command(Some(&sale), &item.to_string(), 1));
        race.spawn(async move { all.execute(&command).await.unwrap() });
    }

    let answers = race.join_all().await;

    let attempt = test_shop.attempt(&sale, "ann", &[1]).await;
    let is_one_code = answers.iter().all(
        |answer| matches!(answer, CheckoutAnswer::Accepted { code, .. } if code.attempt == attempt),
    );
    assert!(is_one_code, "{answers:?}");
    assert_eq!(test_shop.shop.outcome(sale.id, attempt).await.unwrap(), None);
}
