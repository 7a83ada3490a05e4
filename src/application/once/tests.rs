//! Once, on fakes, and on ports that fail.

#![cfg(test)]

use super::*;
use crate::application::checkout::Wanted;
use crate::application::ports::{
    Ledger, MockCheckoutBook, MockKeyBook, MockKeyGate, RefusalReason,
};
use crate::testing::builders::{away, buyer, item_id, key_use, pieces, settle_of, sold_out};
use crate::testing::house::House;

fn wish(items: &[&str]) -> Wish {
    let wanted = |item: &&str| Wanted { item: item_id(item), quantity: pieces(1) };
    Wish::Set(items.iter().map(wanted).collect())
}

fn collect(sale: SaleId, items: &[&str], key: &str) -> CheckoutCommand {
    CheckoutCommand {
        buyer: buyer("ann"),
        wish: wish(items),
        sale: Some(sale),
        attempt: None,
        key: Some(key_use(key, &items.join(","))),
    }
}

/// The checkout as it was answered, and whether that was a repeat.
fn accepted(once: Once<Changed>) -> (CheckoutView, bool) {
    match once {
        Once::Now(Changed::Accepted { view, .. }) => (view, false),
        Once::Before(Changed::Accepted { view, .. }) => (view, true),
        other => panic!("{other:?}"),
    }
}

fn reason(once: &Once<Changed>) -> Option<RefusalReason> {
    match once {
        Once::Now(Changed::Refused(CheckoutRefusal::BySale { reason, .. })) => Some(*reason),
        _ => None,
    }
}

fn ids(view: &CheckoutView) -> Vec<&str> {
    view.lines.iter().map(|(item, _)| item.id.as_str()).collect()
}

#[tokio::test]
async fn a_repeat_is_told_what_the_first_was() {
    let house = House::open();
    let sale = house.sale(5, 9).await.id;
    let once = DoOnce::new(house.once_ports());

    let (first, is_repeat) =
        accepted(once.checkout(collect(sale, &["2", "1"], "a")).await.unwrap());
    once.checkout(collect(sale, &["3"], "b")).await.unwrap();
    let (again, is_repeated) =
        accepted(once.checkout(collect(sale, &["2", "1"], "a")).await.unwrap());

    assert_eq!((ids(&first), is_repeat), (vec!["1", "2"], false));
    assert_eq!((ids(&again), again.code, is_repeated), (vec!["1", "2"], first.code, true));
}

#[tokio::test]
async fn what_was_accepted_is_told_again_when_it_is_sold_out() {
    let house = House::open();
    let sale = house.sale(2, 1).await.id;
    let once = DoOnce::new(house.once_ports());
    accepted(once.checkout(collect(sale, &["1"], "a")).await.unwrap());
    house.board.learn(sale, &sold_out(1, &[1]));

    let again = once.checkout(collect(sale, &["1"], "a")).await.unwrap();
    let new = once.checkout(collect(sale, &["1"], "b")).await.unwrap();

    assert!(accepted(again).1);
    assert_eq!(reason(&new), Some(RefusalReason::ItemSoldOut));
}

#[tokio::test]
async fn what_was_refused_may_be_asked_again_at_once() {
    let house = House::open();
    let sale = house.sale(2, 1).await;
    house.bought(&sale, "bob", &[1]).await;
    let once = DoOnce::new(house.once_ports());

    let refused = once.checkout(collect(sale.id, &["1"], "a")).await.unwrap();
    house.shop.set_stock(sale.id, ItemNo(1), 2);
    house.board.refresh().await.unwrap();
    let again = once.checkout(collect(sale.id, &["1"], "a")).await.unwrap();

    assert_eq!(reason(&refused), Some(RefusalReason::ItemSoldOut));
    assert!(!accepted(again).1);
}

#[tokio::test]
async fn another_request_with_the_key_is_refused() {
    let house = House::open();
    let sale = house.sale(5, 9).await.id;
    let once = DoOnce::new(house.once_ports());
    let (view, _) = accepted(once.checkout(collect(sale, &["1"], "a")).await.unwrap());

    let other = once.checkout(collect(sale, &["2"], "a")).await.unwrap();
    let key = Some(key_use("a", "remove"));
    let remove = ChangeCommand { claim: view.code, wish: Wish::Remove(item_id("1")), key };
    let removed = once.change(remove).await.unwrap();
    let command = house.purchase().admit(view.code).unwrap();
    let bought = once.purchase(command, key_use("a", "buy")).await.unwrap();

    assert!(matches!(other, Once::OtherContent), "{other:?}");
    assert!(matches!(removed, Once::OtherContent), "{removed:?}");
    assert!(matches!(bought, Once::OtherContent), "{bought:?}");
}

#[tokio::test]
async fn while_the_first_is_in_the_gate_others_are_told_so() {
    let house = House::open();
    let sale = house.sale(5, 9).await.id;
    let ports = house.once_ports();
    let gate = Arc::clone(&ports.gate);
    let once = DoOnce::new(ports);
    let lease = gate.enter(&buyer("ann"), &key_use("a", "").key).await.unwrap().unwrap();

    let kept_out = once.checkout(collect(sale, &["1"], "a")).await.unwrap();
    gate.leave(lease).await;
    let let_in = once.checkout(collect(sale, &["1"], "a")).await.unwrap();

    assert!(matches!(kept_out, Once::InProgress), "{kept_out:?}");
    assert!(!accepted(let_in).1);
}

#[tokio::test]
async fn a_gate_that_is_away_stops_nobody() {
    let house = House::open();
    let sale = house.sale(5, 9).await.id;
    let mut gate = MockKeyGate::new();
    gate.expect_enter().returning(|_, _| Err(away()));
    let once = DoOnce::new(OncePorts { gate: Arc::new(gate), ..house.once_ports() });

    assert!(!accepted(once.checkout(collect(sale, &["1"], "a")).await.unwrap()).1);
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_an_error_and_nothing_happens() {
    let house = House::open();
    let sale = house.sale(5, 9).await.id;
    let mut keys = MockKeyBook::new();
    keys.expect_find().returning(|_, _| Err(away()));
    let ports = house.once_ports();
    let book = Arc::new(MockCheckoutBook::new());
    let once = DoOnce::new(OncePorts { keys: Arc::new(keys), book, ..ports });

    assert!(once.checkout(collect(sale, &["1"], "a")).await.is_err());
}

#[tokio::test]
async fn a_key_that_was_used_meanwhile_is_told_as_its_first_use() {
    let house = House::open();
    let sale = house.sale(5, 9).await.id;
    let first = DoOnce::new(house.once_ports());
    let (view, _) = accepted(first.checkout(collect(sale, &["1"], "a")).await.unwrap());
    let done = house.shop().done_with(&buyer("ann"), &key_use("a", "").key);
    // The look before the gate was too early: only the book finds that the key is used.
    let mut states = [KeyState::Unused(buyer("ann")), KeyState::Done(done)].into_iter();
    let mut keys = MockKeyBook::new();
    keys.expect_find().times(2).returning(move |_, _| Ok(states.next().unwrap()));
    let once = DoOnce::new(OncePorts { keys: Arc::new(keys), ..house.once_ports() });

    let (again, is_repeat) = accepted(once.checkout(collect(sale, &["1"], "a")).await.unwrap());

    assert_eq!((again.code, is_repeat), (view.code, true));
}

#[tokio::test]
async fn a_checkout_is_shown_with_what_can_be_done_with_it() {
    let house = House::open();
    let sale = house.sale(5, 9).await;
    let once = DoOnce::new(house.once_ports());
    let attempt = house.attempt(&sale, "ann", &[2]).await;
    let code = house.code(&sale, attempt);
    let stage = async || once.find(code).await.unwrap().unwrap().stage;

    assert_eq!(stage().await, Stage::Open);
    house.clock.set(sale.window.ends_at());
    assert_eq!(stage().await, Stage::Closed);
    house.clock.set(sale.window.starts_at());
    house.shop.settle(settle_of(sale.id, attempt)).await.unwrap();
    assert_eq!(stage().await, Stage::Purchased);
}
