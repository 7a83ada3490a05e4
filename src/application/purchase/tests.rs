//! Purchase on fakes, and on failing ports.

#![cfg(test)]

use std::sync::Mutex;

use super::*;
use crate::application::ports::{
    Hint, Lease, MockCodeLock, MockCodeSigner, MockHintCache, MockItemReader, MockLedger,
    PrecheckRequest,
};
use crate::domain::purchase::LineOutcome;
use crate::domain::sale::{Sale, SaleWindow};
use crate::testing::builders::{a_sale, attempt_id, buyer, line, unavailable};
use crate::testing::fakes::Counted;
use crate::testing::test_shop::{CACHE_LIMITS, TestShop, codes_of};

async fn execute(ports: PurchasePorts, claim: CodeClaim) -> Result<Purchased, PortError> {
    let purchase = Purchase::new(ports);
    let command = purchase.verify_code(claim).await.unwrap().expect("a genuine code");
    purchase.execute(command).await
}

async fn purchase(ports: PurchasePorts, claim: CodeClaim) -> Purchased {
    execute(ports, claim).await.unwrap()
}

fn settled(answer: Purchased) -> (Arc<Outcome>, Vec<Item>, bool) {
    match answer {
        Purchased::Settled { outcome, items, replayed } => (outcome, items, replayed),
        other => panic!("{other:?}"),
    }
}

fn lock_that_returns(held: fn() -> Result<Option<Lease>, PortError>) -> Arc<dyn CodeLock> {
    let mut lock = MockCodeLock::new();
    lock.expect_acquire().returning(move |_, _| held());
    Arc::new(lock)
}

/// A sale of three unique items: ann has collected all, and bob has bought the second.
async fn ann_wants_three() -> (TestShop, Sale, AttemptId) {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 1).await;
    let attempt = test_shop.attempt(&sale, "ann", &[1, 2, 3]).await;
    test_shop.bought(&sale, "bob", &[2]).await;
    (test_shop, sale, attempt)
}

#[tokio::test]
async fn available_items_are_bought_and_sold_out_items_are_reported() {
    let (test_shop, sale, attempt) = ann_wants_three().await;

    let answer = purchase(test_shop.purchase_ports(), test_shop.code(&sale, attempt)).await;

    let (outcome, items, replayed) = settled(answer);
    let line_outcomes: Vec<_> = outcome.lines.iter().map(|line| line.outcome).collect();
    assert_eq!(line_outcomes, [LineOutcome::Sold, LineOutcome::SoldOut, LineOutcome::Sold]);
    assert_eq!(items.iter().map(|item| item.no.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(!replayed);
}

#[tokio::test]
async fn sold_out_items_are_cached_and_published() {
    let (test_shop, sale, attempt) = ann_wants_three().await;

    purchase(test_shop.purchase_ports(), test_shop.code(&sale, attempt)).await;

    let known = test_shop.sale_cache.find(sale.id).await.unwrap().unwrap();
    assert!(known.all_sold_out());
    let published = test_shop.sold_out_events.published();
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].1, [1, 2, 3].map(ItemNo));
}

/// The stock that the hint cache gets by a purchase of one piece.
async fn stock_in_the_hint_cache(stock: i32) -> Option<Vec<(ItemNo, i32)>> {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, stock).await;
    let attempt = test_shop.attempt(&sale, "ann", &[1]).await;
    let stock = Arc::new(Mutex::new(None));
    let mut hints = MockHintCache::new();
    hints.expect_update_totals().return_const(());
    let stored = Arc::clone(&stock);
    hints
        .expect_update_stock()
        .returning(move |_, facts| *stored.lock().unwrap() = Some(facts.sold));
    let ports = PurchasePorts { hints: Arc::new(hints), ..test_shop.purchase_ports() };

    purchase(ports, test_shop.code(&sale, attempt)).await;
    stock.lock().unwrap().take()
}

#[tokio::test]
async fn the_hint_cache_gets_only_sold_out_items() {
    assert_eq!(stock_in_the_hint_cache(1).await, Some(vec![(ItemNo(1), 1)]));
    assert_eq!(stock_in_the_hint_cache(2).await, None);
}

#[tokio::test]
async fn the_hint_cache_gets_the_buyers_totals() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 50).await;
    let attempt = test_shop.shop.extra_attempt(sale.id, buyer("ann"), &[line(1, 9)]);
    purchase(test_shop.purchase_ports(), test_shop.code(&sale, attempt)).await;

    let sale = Arc::new(sale);
    let request = PrecheckRequest { sale, buyer: buyer("ann"), line: line(2, 2) };
    let hint = test_shop.hints.precheck(request).await.unwrap();

    assert!(matches!(hint, Hint::OverLimit { .. }), "{hint:?}");
}

#[tokio::test]
async fn a_repeat_gets_the_first_outcome_and_is_marked_as_replayed() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let code = test_shop.code(&sale, attempt);
    let (first, ..) = settled(purchase(test_shop.purchase_ports(), code).await);

    let (again, _, replayed) = settled(purchase(test_shop.purchase_ports(), code).await);

    assert_eq!((again, replayed), (first, true));
    assert_eq!(test_shop.business_metrics.count(Counted::Purchase(PurchaseAnswer::Replayed)), 1);
}

#[tokio::test]
async fn a_forged_code_touches_no_port() {
    let test_shop = TestShop::open();
    let mut signer = MockCodeSigner::new();
    signer.expect_is_genuine().returning(|_| false);
    let ports = PurchasePorts {
        ledger: Arc::new(MockLedger::new()),
        lock: Arc::new(MockCodeLock::new()),
        codes: codes_of(Arc::new(signer)),
        ..test_shop.purchase_ports()
    };
    let code = test_shop.code(&a_sale(1), attempt_id(1));

    assert!(Purchase::new(ports).verify_code(code).await.unwrap().is_none());
    assert_eq!(test_shop.business_metrics.count(Counted::Purchase(PurchaseAnswer::UnknownCode)), 1);
}

#[tokio::test]
async fn a_code_of_another_attempt_with_this_ones_signature_is_forged() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let other = test_shop.attempt(&sale, "eve", &[3]).await;

    let code = CodeClaim { attempt: other, ..test_shop.code(&sale, attempt) };

    assert!(Purchase::new(test_shop.purchase_ports()).verify_code(code).await.unwrap().is_none());
}

#[tokio::test]
async fn a_genuine_code_of_a_missing_attempt_is_unknown() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(1, 1).await;

    let answer = purchase(test_shop.purchase_ports(), test_shop.code(&sale, attempt_id(99))).await;

    assert!(matches!(answer, Purchased::UnknownCode));
}

#[tokio::test]
async fn outside_the_window_the_refusal_is_on_record() {
    let hour = chrono::Duration::hours(1);
    for (moved, reason) in [(hour, RefusalReason::NotStarted), (-hour, RefusalReason::Ended)] {
        let (test_shop, sale, attempt) = ann_wants_three().await;
        let window = sale.window;
        let window = SaleWindow::new(window.starts_at() + moved, window.ends_at() + moved);
        test_shop.shop.move_window(sale.id, window.unwrap());

        let answer = purchase(test_shop.purchase_ports(), test_shop.code(&sale, attempt)).await;

        assert!(matches!(answer, Purchased::Refused { reason: given, .. } if given == reason));
        assert_eq!(test_shop.refused(&sale).await, [(Operation::Purchase, reason, 1)]);
    }
}

#[tokio::test]
async fn a_lock_that_is_away_stops_no_caller() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let lock = lock_that_returns(|| Err(unavailable()));
    let ports = PurchasePorts { lock, ..test_shop.purchase_ports() };

    let (outcome, ..) = settled(purchase(ports, test_shop.code(&sale, attempt)).await);

    assert_eq!(outcome.total_purchased(), 2);
}

#[tokio::test]
async fn without_any_lock_a_storm_of_repeats_is_decided_once() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let lock = lock_that_returns(|| Err(unavailable()));
    let storm = Arc::new(Purchase::new(PurchasePorts { lock, ..test_shop.purchase_ports() }));
    let claim = test_shop.code(&sale, attempt);
    let mut race = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let storm = Arc::clone(&storm);
        let command = storm.verify_code(claim).await.unwrap().expect("a genuine code");
        race.spawn(async move { storm.execute(command).await.unwrap() });
    }

    let answers: Vec<_> = race.join_all().await.into_iter().map(settled).collect();

    assert_eq!(answers.iter().filter(|(.., replayed)| !replayed).count(), 1);
    assert!(answers.iter().all(|(outcome, ..)| *outcome == answers[0].0));
}

#[tokio::test]
async fn while_the_first_is_running_a_repeat_is_in_progress_and_the_ledger_decides_nothing() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let mut ledger = MockLedger::new();
    ledger.expect_outcome().returning(|_, _| Ok(None));
    let lock = lock_that_returns(|| Ok(None));
    let ports = PurchasePorts { lock, ledger: Arc::new(ledger), ..test_shop.purchase_ports() };

    let answer = purchase(ports, test_shop.code(&sale, attempt)).await;

    assert!(matches!(answer, Purchased::Refused { reason: RefusalReason::InProgress, .. }));
    let expected = (Operation::Purchase, RefusalReason::InProgress, 1);
    assert_eq!(test_shop.refused(&sale).await, [expected]);
}

#[tokio::test]
async fn a_repeat_that_does_not_get_the_lock_gets_the_stored_outcome() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let code = test_shop.code(&sale, attempt);
    let (first, ..) = settled(purchase(test_shop.purchase_ports(), code).await);
    let lock = lock_that_returns(|| Ok(None));

    let ports = PurchasePorts { lock, ..test_shop.purchase_ports() };
    let (again, _, replayed) = settled(purchase(ports, code).await);

    assert_eq!((again, replayed), (first, true));
}

#[tokio::test]
async fn the_lock_is_released_after_an_error() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let mut ledger = MockLedger::new();
    ledger.expect_settle().returning(|_| Err(unavailable()));
    let ports = PurchasePorts { ledger: Arc::new(ledger), ..test_shop.purchase_ports() };

    let claim = test_shop.code(&sale, attempt);
    execute(ports, claim).await.unwrap_err();

    let lock = test_shop.purchase_ports().lock;
    assert!(lock.acquire(sale.id, attempt).await.unwrap().is_some());
}

#[tokio::test]
async fn a_first_purchase_looks_for_no_stored_outcome() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    // Any other call of the ledger fails the test.
    let mut ledger = MockLedger::new();
    ledger.expect_settle().once().returning(|_| Ok(Settled::Unknown));
    let ports = PurchasePorts { ledger: Arc::new(ledger), ..test_shop.purchase_ports() };

    let answer = purchase(ports, test_shop.code(&sale, attempt)).await;

    assert!(matches!(answer, Purchased::UnknownCode));
}

#[tokio::test]
async fn an_unavailable_ledger_is_an_error_and_a_refusal_on_record() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let mut ledger = MockLedger::new();
    ledger.expect_settle().returning(|_| Err(unavailable()));
    let ports = PurchasePorts { ledger: Arc::new(ledger), ..test_shop.purchase_ports() };

    let claim = test_shop.code(&sale, attempt);
    let answer = execute(ports, claim).await;

    assert!(matches!(answer, Err(PortError::Unavailable { .. })));
    let expected = (Operation::Purchase, RefusalReason::Unavailable, 1);
    assert_eq!(test_shop.refused(&sale).await, [expected]);
}

#[tokio::test]
async fn an_unavailable_ledger_while_the_first_is_running_leaves_a_refusal_on_record() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let mut ledger = MockLedger::new();
    ledger.expect_outcome().returning(|_, _| Err(unavailable()));
    let lock = lock_that_returns(|| Ok(None));
    let ports = PurchasePorts { lock, ledger: Arc::new(ledger), ..test_shop.purchase_ports() };

    let claim = test_shop.code(&sale, attempt);
    execute(ports, claim).await.unwrap_err();

    let expected = (Operation::Purchase, RefusalReason::Unavailable, 1);
    assert_eq!(test_shop.refused(&sale).await, [expected]);
}

#[tokio::test]
async fn unreadable_items_are_an_error_and_the_repeat_gets_the_outcome() {
    let (test_shop, sale, attempt) = ann_wants_three().await;
    let mut items = MockItemReader::new();
    items.expect_by_number().returning(|_, _| Err(unavailable()));
    let sale_cache =
        SaleCache::new(test_shop.shop(), Arc::new(items), test_shop.clock(), CACHE_LIMITS);
    let ports = PurchasePorts { sale_cache: Arc::new(sale_cache), ..test_shop.purchase_ports() };

    let claim = test_shop.code(&sale, attempt);
    execute(ports, claim).await.unwrap_err();

    let (outcome, _, replayed) = settled(purchase(test_shop.purchase_ports(), claim).await);
    assert_eq!((outcome.total_purchased(), replayed), (2, true));
}

#[tokio::test]
async fn the_limit_alone_is_counted_as_the_limit() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(3, 50).await;
    let first = test_shop.shop.extra_attempt(sale.id, buyer("ann"), &[line(1, 10)]);
    let second = test_shop.shop.extra_attempt(sale.id, buyer("ann"), &[line(2, 1)]);
    for attempt in [first, second] {
        purchase(test_shop.purchase_ports(), test_shop.code(&sale, attempt)).await;
    }

    assert_eq!(test_shop.business_metrics.count(Counted::Purchase(PurchaseAnswer::BuyerLimit)), 1);
    assert_eq!(test_shop.business_metrics.count(Counted::Sold(10)), 1);
}
