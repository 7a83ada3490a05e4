//! What every [`KeyBook`](crate::application::ports::KeyBook) keeps, together with the ports that use the keys.

use futures_util::future::join_all;

use super::{Scene, ShopWorld, Terms};
use crate::application::ports::{
    Caller, Collect, Collected, Done, Edit, Effect, KeyState, Settle, Settled,
};
use crate::domain::ids::{AttemptId, ItemNo};
use crate::testing::builders::{attempt_id, buyer, collect, key_use, line};

macro_rules! key_book_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { key_book in $world =>
            a_new_key_is_unused_and_tells_whose_it_would_be
            a_key_is_known_with_what_it_did
            a_key_of_a_change_tells_what_was_left
            a_key_of_a_purchase_is_known_with_it
            a_used_key_changes_nothing
            the_same_key_of_another_buyer_is_another_key
            what_was_refused_leaves_no_key
            a_repeated_purchase_leaves_no_key
            a_key_belongs_to_the_buyer_in_every_sale
            one_of_many_with_the_same_key_is_done
            a_key_of_today_is_not_forgotten
        }
    };
}
pub(crate) use key_book_contract;

/// An item for a buyer, once.
fn once(scene: &Scene<'_>, who: &str, item: i32, key: &str) -> Collect {
    Collect { key: Some(key_use(key, &item.to_string())), ..collect(scene.sale, who, item, 1) }
}

async fn added(scene: &Scene<'_>, wanted: Collect) -> AttemptId {
    match scene.instance.book.collect(wanted).await.unwrap() {
        Collected::Added { attempt, .. } => attempt,
        refused => panic!("{refused:?}"),
    }
}

/// What is known of a key for this content.
async fn known(scene: &Scene<'_>, who: &str, key: &str, content: &str) -> KeyState {
    let caller = Caller::Buyer(buyer(who));
    scene.instance.keys.find(caller, key_use(key, content)).await.unwrap()
}

pub(crate) async fn a_new_key_is_unused_and_tells_whose_it_would_be(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    let find = async |attempt| {
        let caller = Caller::HolderOf(scene.sale, attempt);
        scene.instance.keys.find(caller, key_use("k", "1")).await.unwrap()
    };

    assert_eq!(known(&scene, "bob", "k", "1").await, KeyState::Unused(buyer("bob")));
    assert_eq!(find(attempt).await, KeyState::Unused(buyer("ann")));
    assert_eq!(find(attempt_id(i64::MAX)).await, KeyState::NoCaller);
}

pub(crate) async fn a_key_is_known_with_what_it_did(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(5, 9)).await;
    let first = added(&scene, once(&scene, "ann", 2, "a")).await;
    let second = added(&scene, once(&scene, "ann", 1, "b")).await;

    let done = |created, lines| {
        let effect = Effect::Changed { created, lines };
        KeyState::Done(Done { buyer: buyer("ann"), sale: scene.sale, attempt: first, effect })
    };
    assert_eq!(first, second);
    assert_eq!(known(&scene, "ann", "a", "2").await, done(true, vec![line(2, 1)]));
    assert_eq!(known(&scene, "ann", "b", "1").await, done(false, vec![line(2, 1), line(1, 1)]));
    assert_eq!(known(&scene, "ann", "a", "1").await, KeyState::OtherContent);
}

pub(crate) async fn a_key_of_a_change_tells_what_was_left(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(5, 9)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    let change = |edit, key| Collect {
        attempt: Some(attempt),
        edit,
        key: Some(key_use(key, key)),
        ..collect(scene.sale, "ann", 1, 1)
    };
    added(&scene, change(Edit::Set(vec![line(3, 2)]), "set")).await;
    added(&scene, change(Edit::Remove(ItemNo(1)), "one")).await;
    added(&scene, change(Edit::Remove(ItemNo(3)), "other")).await;

    for (key, created, lines) in [
        ("set", true, vec![line(1, 1), line(3, 2)]),
        ("one", false, vec![line(3, 2)]),
        ("other", false, vec![]),
    ] {
        let effect = Effect::Changed { created, lines };
        let done = Done { buyer: buyer("ann"), sale: scene.sale, attempt, effect };
        assert_eq!(known(&scene, "ann", key, key).await, KeyState::Done(done));
    }
}

pub(crate) async fn a_key_of_a_purchase_is_known_with_it(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(5)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    let wanted = || Settle { sale: scene.sale, attempt, key: Some(key_use("k", "buy")) };

    let settled = scene.instance.ledger.settle(wanted()).await.unwrap();
    let again = scene.instance.ledger.settle(wanted()).await.unwrap();

    let effect = Effect::Purchased;
    let done = Done { buyer: buyer("ann"), sale: scene.sale, attempt, effect };
    assert!(matches!(settled, Settled::Now(_)));
    assert_eq!(again, Settled::KeyUsed);
    assert_eq!(known(&scene, "ann", "k", "buy").await, KeyState::Done(done));
}

pub(crate) async fn a_used_key_changes_nothing(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(5, 9)).await;
    let attempt = added(&scene, once(&scene, "ann", 1, "k")).await;
    let other = scene.attempt("bob", &[(1, 1)]).await;
    added(&scene, once(&scene, "bob", 2, "l")).await;

    let again = scene.instance.book.collect(once(&scene, "ann", 2, "k")).await.unwrap();
    let key = Some(key_use("l", "buy"));
    let wanted = Settle { sale: scene.sale, attempt: other, key };
    let bought = scene.instance.ledger.settle(wanted).await.unwrap();

    assert_eq!((again, bought), (Collected::KeyUsed, Settled::KeyUsed));
    let found = scene.instance.book.find(scene.sale, attempt).await.unwrap().unwrap();
    assert_eq!(found.lines, [line(1, 1)]);
    assert_eq!(scene.progress().await.sold, 0);
}

pub(crate) async fn the_same_key_of_another_buyer_is_another_key(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(5, 9)).await;
    let ann = added(&scene, once(&scene, "ann", 1, "k")).await;

    let bob = added(&scene, once(&scene, "bob", 2, "k")).await;

    assert_ne!(ann, bob);
}

pub(crate) async fn what_was_refused_leaves_no_key(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let bought = scene.attempt("bob", &[(1, 1)]).await;
    scene.decided(bought).await;

    let refused = scene.instance.book.collect(once(&scene, "ann", 1, "k")).await.unwrap();

    assert!(matches!(refused, Collected::SoldOut(_)), "{refused:?}");
    assert_eq!(known(&scene, "ann", "k", "1").await, KeyState::Unused(buyer("ann")));
}

pub(crate) async fn a_repeated_purchase_leaves_no_key(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;

    let key = Some(key_use("k", "buy"));
    let again = scene.instance.ledger.settle(Settle { sale: scene.sale, attempt, key }).await;

    assert!(matches!(again.unwrap(), Settled::Before(_)));
    assert_eq!(known(&scene, "ann", "k", "buy").await, KeyState::Unused(buyer("ann")));
}

pub(crate) async fn a_key_belongs_to_the_buyer_in_every_sale(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 9)).await;
    let other = Scene::open(world, Terms::stocked(3, 9)).await;
    added(&scene, once(&scene, "ann", 1, "k")).await;

    let again = other.instance.book.collect(once(&other, "ann", 1, "k")).await.unwrap();

    assert_eq!(again, Collected::KeyUsed);
}

pub(crate) async fn one_of_many_with_the_same_key_is_done(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(9, 99)).await;
    let there = scene.elsewhere().await;
    let other = Scene::open(world, Terms::stocked(9, 99)).await;

    let all = (1..=9).flat_map(|item| [(&scene, item), (&there, item), (&other, item)]);
    let all = all.map(|(at, item)| at.instance.book.collect(once(at, "ann", item, "k")));
    let told: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();

    let added = told.iter().filter(|told| matches!(told, Collected::Added { .. })).count();
    let used = told.iter().filter(|told| **told == Collected::KeyUsed).count();
    assert_eq!((added, used), (1, 26), "{told:?}");
}

pub(crate) async fn a_key_of_today_is_not_forgotten(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    added(&scene, once(&scene, "ann", 1, "k")).await;

    assert_eq!(scene.instance.keys.prune().await.unwrap(), 0);

    assert!(matches!(known(&scene, "ann", "k", "1").await, KeyState::Done(_)));
}

#[cfg(test)]
mod fake {
    use crate::testing::contracts::FakeShopWorld;

    super::key_book_contract!(FakeShopWorld::open());
}
