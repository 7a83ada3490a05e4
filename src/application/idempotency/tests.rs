//! Idempotency on fakes, and on failing ports.

#![cfg(test)]

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::*;
use crate::application::checkout::RequestedLine;
use crate::application::ports::{
    Ledger, MockCheckoutStore, MockIdempotencyLock, MockIdempotencyStore, RefusalReason,
};
use crate::testing::builders::{
    buyer, item_id, keyed_request, pieces, settle_of, sold_out, unavailable,
};
use crate::testing::fakes::FakeShop;
use crate::testing::test_shop::TestShop;

fn line_change(items: &[&str]) -> LineChange {
    let wanted = |item: &&str| RequestedLine { item: item_id(item), quantity: pieces(1) };
    LineChange::Set(items.iter().map(wanted).collect())
}

/// Sets one piece of each of these items, with a key.
async fn collect(
    idempotency: &Idempotency,
    sale: SaleId,
    items: &[&str],
    key: &str,
) -> Result<Keyed<CheckoutReply>, PortError> {
    let (buyer, line_change) = (buyer("ann"), line_change(items));
    let sale = Some(sale);
    let command = CheckoutCommand { buyer, line_change, sale, attempt: None, tags: None };
    idempotency.checkout(command, keyed_request(key, &items.join(","))).await
}

/// A purchase by anyone, on no terms.
fn purchase_of(claim: CodeClaim) -> KeyedPurchase {
    KeyedPurchase { claim, buyer: None, terms: RequestedTerms::default() }
}

/// The answered checkout, and whether it answers a repeat.
fn accepted(keyed: Keyed<CheckoutReply>) -> (CheckoutView, bool) {
    match keyed {
        Keyed::New(CheckoutReply::Accepted { view, .. }) => (view, false),
        Keyed::Replayed(CheckoutReply::Accepted { view, .. }) => (view, true),
        other => panic!("{other:?}"),
    }
}

fn reason(keyed: &Keyed<CheckoutReply>) -> Option<RefusalReason> {
    match keyed {
        Keyed::New(CheckoutReply::Refused(CheckoutRefusal::BySale { reason, .. })) => Some(*reason),
        _ => None,
    }
}

fn ids(view: &CheckoutView) -> Vec<&str> {
    view.lines.iter().map(|(item, _)| item.id.as_str()).collect()
}

#[tokio::test]
async fn a_repeat_gets_the_answer_of_the_first_request() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await.id;
    let idempotency = Idempotency::new(test_shop.idempotency_ports());

    let (first, is_repeat) = accepted(collect(&idempotency, sale, &["2", "1"], "a").await.unwrap());
    collect(&idempotency, sale, &["3"], "b").await.unwrap();
    let (again, is_repeated) =
        accepted(collect(&idempotency, sale, &["2", "1"], "a").await.unwrap());

    assert_eq!((ids(&first), is_repeat), (vec!["1", "2"], false));
    assert_eq!((ids(&again), again.code, is_repeated), (vec!["1", "2"], first.code, true));
}

#[tokio::test]
async fn an_accepted_request_is_replayed_after_the_item_sold_out() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await.id;
    let idempotency = Idempotency::new(test_shop.idempotency_ports());
    accepted(collect(&idempotency, sale, &["1"], "a").await.unwrap());
    test_shop.sale_cache.apply_stock(sale, &sold_out(1, &[1]));

    let again = collect(&idempotency, sale, &["1"], "a").await.unwrap();
    let new = collect(&idempotency, sale, &["1"], "b").await.unwrap();

    assert!(accepted(again).1);
    assert_eq!(reason(&new), Some(RefusalReason::ItemSoldOut));
}

#[tokio::test]
async fn a_refused_request_may_be_repeated_at_once() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(2, 1).await;
    test_shop.bought(&sale, "bob", &[1]).await;
    let idempotency = Idempotency::new(test_shop.idempotency_ports());

    let refused = collect(&idempotency, sale.id, &["1"], "a").await.unwrap();
    test_shop.shop.set_stock(sale.id, ItemNo(1), 2);
    test_shop.sale_cache.refresh().await.unwrap();
    let again = collect(&idempotency, sale.id, &["1"], "a").await.unwrap();

    assert_eq!(reason(&refused), Some(RefusalReason::ItemSoldOut));
    assert!(!accepted(again).1);
}

#[tokio::test]
async fn another_request_with_the_key_is_refused() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await.id;
    let idempotency = Idempotency::new(test_shop.idempotency_ports());
    let (view, _) = accepted(collect(&idempotency, sale, &["1"], "a").await.unwrap());

    let other = collect(&idempotency, sale, &["2"], "a").await.unwrap();
    let key = Some(keyed_request("a", "remove"));
    let remove = {
        let line_change = LineChange::Remove(item_id("1"));
        ChangeCommand { claim: view.code, buyer: None, line_change, tags: None, key }
    };
    let removed = idempotency.change(remove).await.unwrap();
    let bought =
        idempotency.purchase(purchase_of(view.code), keyed_request("a", "buy")).await.unwrap();

    assert!(matches!(other, Keyed::ContentMismatch), "{other:?}");
    assert!(matches!(removed, Keyed::ContentMismatch), "{removed:?}");
    assert!(matches!(bought, Keyed::ContentMismatch), "{bought:?}");
}

#[tokio::test]
async fn while_the_first_request_holds_the_lock_a_repeat_is_in_progress() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await.id;
    let ports = test_shop.idempotency_ports();
    let idempotency_lock = Arc::clone(&ports.idempotency_lock);
    let idempotency = Idempotency::new(ports);
    let lease = idempotency_lock
        .acquire(&buyer("ann"), &keyed_request("a", "").key)
        .await
        .unwrap()
        .unwrap();

    let blocked = collect(&idempotency, sale, &["1"], "a").await.unwrap();
    idempotency_lock.release(lease).await;
    let admitted = collect(&idempotency, sale, &["1"], "a").await.unwrap();

    assert!(matches!(blocked, Keyed::InProgress), "{blocked:?}");
    assert!(!accepted(admitted).1);
}

/// Keys of a request that is still running when its repeat looks for the first time.
struct LateKeys {
    shop: Arc<FakeShop>,
    looks: AtomicU32,
}

#[async_trait]
impl IdempotencyStore for LateKeys {
    async fn find(
        &self,
        caller: Caller,
        request: KeyedRequest,
    ) -> Result<Keyed<BuyerId, Done>, PortError> {
        if self.looks.fetch_add(1, Ordering::Relaxed) < 3 {
            return Ok(Keyed::New(buyer("ann")));
        }
        IdempotencyStore::find(&*self.shop, caller, request).await
    }

    async fn prune(&self) -> Result<u64, PortError> {
        Ok(0)
    }
}

#[tokio::test]
async fn a_repeat_that_waits_gets_the_answer_of_the_request_that_holds_the_lock() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await.id;
    let first = Idempotency::new(test_shop.idempotency_ports());
    let (view, _) = accepted(collect(&first, sale, &["1"], "a").await.unwrap());
    let keys = LateKeys { shop: test_shop.shop(), looks: AtomicU32::new(0) };
    let mut idempotency_lock = MockIdempotencyLock::new();
    idempotency_lock.expect_acquire().returning(|_, _| Ok(None));
    let idempotency = Idempotency::new(IdempotencyPorts {
        keys: Arc::new(keys),
        idempotency_lock: Arc::new(idempotency_lock),
        ..test_shop.idempotency_ports()
    });

    let (again, is_repeat) = accepted(collect(&idempotency, sale, &["1"], "a").await.unwrap());

    assert_eq!((again.code, is_repeat), (view.code, true));
}

#[tokio::test]
async fn an_unavailable_lock_blocks_no_request() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await.id;
    let mut idempotency_lock = MockIdempotencyLock::new();
    idempotency_lock.expect_acquire().returning(|_, _| Err(unavailable()));
    let idempotency = Idempotency::new(IdempotencyPorts {
        idempotency_lock: Arc::new(idempotency_lock),
        ..test_shop.idempotency_ports()
    });

    assert!(!accepted(collect(&idempotency, sale, &["1"], "a").await.unwrap()).1);
}

#[tokio::test]
async fn a_purchase_takes_no_lock_on_its_key() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await;
    let attempt = test_shop.attempt(&sale, "ann", &[2]).await;
    let idempotency = Idempotency::new(IdempotencyPorts {
        idempotency_lock: Arc::new(MockIdempotencyLock::new()),
        ..test_shop.idempotency_ports()
    });
    let code = test_shop.code(&sale, attempt);

    let first = idempotency.purchase(purchase_of(code), keyed_request("a", "buy")).await.unwrap();
    let again = idempotency.purchase(purchase_of(code), keyed_request("a", "buy")).await.unwrap();

    assert!(matches!(first, Keyed::New(Purchased::Settled { replayed: false, .. })), "{first:?}");
    assert!(matches!(again, Keyed::Replayed(Purchased::Settled { .. })), "{again:?}");
}

#[tokio::test]
async fn while_a_code_is_purchased_a_repeat_with_a_key_is_in_progress() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await;
    let attempt = test_shop.attempt(&sale, "ann", &[2]).await;
    let lock = test_shop.purchase_ports().lock;
    let lease = lock.acquire(sale.id, attempt).await.unwrap().unwrap();
    let idempotency = Idempotency::new(test_shop.idempotency_ports());
    let code = test_shop.code(&sale, attempt);

    let blocked = idempotency.purchase(purchase_of(code), keyed_request("a", "buy")).await.unwrap();
    lock.release(lease);
    let bought = idempotency.purchase(purchase_of(code), keyed_request("a", "buy")).await.unwrap();

    let is_blocked =
        matches!(blocked, Keyed::New(Purchased::Refused { reason: RefusalReason::InProgress, .. }));
    assert!(is_blocked, "{blocked:?}");
    assert!(matches!(bought, Keyed::New(Purchased::Settled { .. })), "{bought:?}");
}

#[tokio::test]
async fn an_unreadable_key_is_an_error_and_changes_nothing() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await.id;
    let mut keys = MockIdempotencyStore::new();
    keys.expect_find().returning(|_, _| Err(unavailable()));
    let ports = test_shop.idempotency_ports();
    let checkouts = Arc::new(MockCheckoutStore::new());
    let idempotency =
        Idempotency::new(IdempotencyPorts { keys: Arc::new(keys), checkouts, ..ports });

    assert!(collect(&idempotency, sale, &["1"], "a").await.is_err());
}

#[tokio::test]
async fn a_key_used_meanwhile_gets_the_answer_of_its_first_use() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await.id;
    let first = Idempotency::new(test_shop.idempotency_ports());
    let (view, _) = accepted(collect(&first, sale, &["1"], "a").await.unwrap());
    // The look-up before the lock comes too early: only the checkout store finds the used key.
    let mut keys = MockIdempotencyStore::new();
    keys.expect_find().once().returning(|_, _| Ok(Keyed::New(buyer("ann"))));
    let idempotency = Idempotency::new(IdempotencyPorts {
        keys: Arc::new(keys),
        ..test_shop.idempotency_ports()
    });

    let (again, is_repeat) = accepted(collect(&idempotency, sale, &["1"], "a").await.unwrap());

    assert_eq!((again.code, is_repeat), (view.code, true));
}

#[tokio::test]
async fn a_checkout_is_shown_with_its_state() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await;
    let idempotency = Idempotency::new(test_shop.idempotency_ports());
    let attempt = test_shop.attempt(&sale, "ann", &[2]).await;
    let code = test_shop.code(&sale, attempt);
    let status = async || idempotency.find(code).await.unwrap().unwrap().status;

    assert_eq!(status().await, CheckoutStatus::Open);
    test_shop.clock.set(sale.window.ends_at());
    assert_eq!(status().await, CheckoutStatus::Closed);
    test_shop.clock.set(sale.window.starts_at());
    test_shop.shop.settle(settle_of(sale.id, attempt)).await.unwrap();
    assert_eq!(status().await, CheckoutStatus::Purchased);
}

#[tokio::test]
async fn the_checkout_of_another_buyer_is_neither_changed_nor_bought_nor_shown() {
    let test_shop = TestShop::open();
    let sale = test_shop.sale(5, 9).await.id;
    let idempotency = Idempotency::new(test_shop.idempotency_ports());
    let (view, _) = accepted(collect(&idempotency, sale, &["1"], "a").await.unwrap());
    let change = async |who: &str, key: Option<&str>| {
        let command = ChangeCommand {
            claim: view.code,
            buyer: Some(buyer(who)),
            line_change: line_change(&["2"]),
            tags: None,
            key: key.map(|key| keyed_request(key, "2")),
        };
        idempotency.change(command).await.unwrap()
    };
    let purchase = async |who: &str| {
        let purchase = KeyedPurchase { buyer: Some(buyer(who)), ..purchase_of(view.code) };
        idempotency.purchase(purchase, keyed_request("buy", "buy")).await.unwrap()
    };

    for key in [None, Some("b")] {
        let refused = change("bob", key).await;
        assert!(matches!(refused, Keyed::OtherBuyer), "{refused:?}");
    }
    let refused = purchase("bob").await;
    assert!(matches!(refused, Keyed::New(Purchased::OtherBuyer)), "{refused:?}");
    accepted(change("ann", Some("b")).await);
    assert!(matches!(purchase("ann").await, Keyed::New(Purchased::Settled { .. })));
    // The keys are known now: a repeat of another buyer gets no answer of theirs.
    let refused = change("bob", Some("b")).await;
    assert!(matches!(refused, Keyed::OtherBuyer), "{refused:?}");
    let refused = purchase("bob").await;
    assert!(matches!(refused, Keyed::OtherBuyer), "{refused:?}");
}
