//! What every [`IdempotencyStore`](crate::application::ports::IdempotencyStore) guarantees, together with
//! the ports that write the keys.

use futures_util::future::join_all;

use super::{Scene, ShopWorld, Terms};
use crate::application::ports::{Caller, Collect, Collected, Done, Edit, Effect, Keyed, Settled};
use crate::domain::ids::{AttemptId, BuyerId, ItemNo};
use crate::testing::builders::{attempt_id, buyer, collect, keyed_request, line, settle_of};

macro_rules! idempotency_store_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { idempotency_store in $world =>
            a_new_key_is_unused_and_returned_with_its_caller
            a_key_is_known_with_what_it_did
            a_key_of_a_change_returns_the_lines_after_it
            a_key_of_a_purchase_is_known_with_it
            a_used_key_changes_nothing
            the_same_key_of_another_buyer_is_another_key
            what_was_refused_leaves_no_key
            a_repeated_purchase_leaves_no_key
            a_key_belongs_to_the_buyer_in_every_sale
            one_of_many_with_the_same_key_is_done
            one_of_two_purchases_with_the_same_key_is_done
            a_key_of_today_is_not_forgotten
        }
    };
}
pub(crate) use idempotency_store_contract;

/// Sets one piece of an item, with a key for this item.
async fn collect_keyed(
    scene: &Scene<'_>,
    who: &str,
    item: i32,
    key: &str,
) -> Keyed<Collected, Done> {
    let key = keyed_request(key, &item.to_string());
    let request = collect(scene.sale, who, item, 1);
    scene.instance.checkouts.collect_keyed(request, key).await.unwrap()
}

/// Purchases a checkout, with a key.
async fn settle_keyed(scene: &Scene<'_>, attempt: AttemptId, key: &str) -> Keyed<Settled, Done> {
    let (request, key) = (settle_of(scene.sale, attempt), keyed_request(key, "buy"));
    scene.instance.ledger.settle_keyed(request, key).await.unwrap()
}

fn added(keyed: Keyed<Collected, Done>) -> AttemptId {
    match keyed {
        Keyed::New(Collected::Added { attempt, .. }) => attempt,
        other => panic!("{other:?}"),
    }
}

/// The state of a key for this content.
async fn state(scene: &Scene<'_>, who: &str, key: &str, content: &str) -> Keyed<BuyerId, Done> {
    let caller = Caller::Buyer(buyer(who), None);
    scene.instance.keys.find(caller, keyed_request(key, content)).await.unwrap()
}

pub(crate) async fn a_new_key_is_unused_and_returned_with_its_caller(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    let find = async |attempt| {
        let caller = Caller::HolderOf(scene.sale, attempt);
        scene.instance.keys.find(caller, keyed_request("k", "1")).await.unwrap()
    };

    assert_eq!(state(&scene, "bob", "k", "1").await, Keyed::New(buyer("bob")));
    assert_eq!(find(attempt).await, Keyed::New(buyer("ann")));
    assert_eq!(find(attempt_id(i64::MAX)).await, Keyed::UnknownCode);
}

pub(crate) async fn a_key_is_known_with_what_it_did(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(5, 9)).await;
    let first = added(collect_keyed(&scene, "ann", 2, "a").await);
    let second = added(collect_keyed(&scene, "ann", 1, "b").await);

    let done = |created, lines| {
        let effect = Effect::Changed { created, lines };
        Keyed::Replayed(Done { buyer: buyer("ann"), sale: scene.sale, attempt: first, effect })
    };
    assert_eq!(first, second);
    assert_eq!(state(&scene, "ann", "a", "2").await, done(true, vec![line(2, 1)]));
    assert_eq!(state(&scene, "ann", "b", "1").await, done(false, vec![line(2, 1), line(1, 1)]));
    assert_eq!(state(&scene, "ann", "a", "1").await, Keyed::ContentMismatch);
}

pub(crate) async fn a_key_of_a_change_returns_the_lines_after_it(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(5, 9)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    for (edit, key) in [
        (Edit::Set(vec![line(3, 2)]), "set"),
        (Edit::Remove(ItemNo(1)), "one"),
        (Edit::Remove(ItemNo(3)), "other"),
    ] {
        let attempt = Some(attempt);
        let request = Collect { attempt, edit, ..collect(scene.sale, "ann", 1, 1) };
        let key = keyed_request(key, key);
        added(scene.instance.checkouts.collect_keyed(request, key).await.unwrap());
    }

    for (key, created, lines) in [
        ("set", true, vec![line(1, 1), line(3, 2)]),
        ("one", false, vec![line(3, 2)]),
        ("other", false, vec![]),
    ] {
        let effect = Effect::Changed { created, lines };
        let done = Done { buyer: buyer("ann"), sale: scene.sale, attempt, effect };
        assert_eq!(state(&scene, "ann", key, key).await, Keyed::Replayed(done));
    }
}

pub(crate) async fn a_key_of_a_purchase_is_known_with_it(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(5)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;

    let settled = settle_keyed(&scene, attempt, "k").await;
    let again = settle_keyed(&scene, attempt, "k").await;

    let effect = Effect::Purchased;
    let done = Done { buyer: buyer("ann"), sale: scene.sale, attempt, effect };
    assert!(matches!(settled, Keyed::New(Settled::Now(_))), "{settled:?}");
    assert_eq!(again, Keyed::Replayed(done.clone()));
    assert_eq!(state(&scene, "ann", "k", "buy").await, Keyed::Replayed(done));
}

pub(crate) async fn a_used_key_changes_nothing(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(5, 9)).await;
    let attempt = added(collect_keyed(&scene, "ann", 1, "k").await);
    let other = scene.attempt("bob", &[(1, 1)]).await;
    added(collect_keyed(&scene, "bob", 2, "l").await);

    let again = collect_keyed(&scene, "ann", 2, "k").await;
    let bought = settle_keyed(&scene, other, "l").await;

    assert_eq!((again, bought), (Keyed::ContentMismatch, Keyed::ContentMismatch));
    let found = scene.instance.checkouts.find(scene.sale, attempt).await.unwrap().unwrap();
    assert_eq!(found.lines, [line(1, 1)]);
    assert_eq!(scene.progress().await.sold, 0);
}

pub(crate) async fn the_same_key_of_another_buyer_is_another_key(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(5, 9)).await;
    let ann = added(collect_keyed(&scene, "ann", 1, "k").await);

    let bob = added(collect_keyed(&scene, "bob", 2, "k").await);

    assert_ne!(ann, bob);
}

pub(crate) async fn what_was_refused_leaves_no_key(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let bought = scene.attempt("bob", &[(1, 1)]).await;
    scene.decided(bought).await;

    let refused = collect_keyed(&scene, "ann", 1, "k").await;

    assert!(matches!(refused, Keyed::New(Collected::SoldOut(_))), "{refused:?}");
    assert_eq!(state(&scene, "ann", "k", "1").await, Keyed::New(buyer("ann")));
}

pub(crate) async fn a_repeated_purchase_leaves_no_key(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;

    let again = settle_keyed(&scene, attempt, "k").await;

    assert!(matches!(again, Keyed::New(Settled::Before(_))), "{again:?}");
    assert_eq!(state(&scene, "ann", "k", "buy").await, Keyed::New(buyer("ann")));
}

pub(crate) async fn a_key_belongs_to_the_buyer_in_every_sale(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 9)).await;
    let other = Scene::open(world, Terms::stocked(3, 9)).await;
    added(collect_keyed(&scene, "ann", 1, "k").await);

    let again = collect_keyed(&other, "ann", 1, "k").await;

    let Keyed::Replayed(done) = again else { panic!("{again:?}") };
    assert_eq!(done.sale, scene.sale);
}

pub(crate) async fn one_of_many_with_the_same_key_is_done(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(9, 99)).await;
    let there = scene.at_another_instance().await;
    let other = Scene::open(world, Terms::stocked(9, 99)).await;

    let all = (1..=9).flat_map(|item| [(&scene, item), (&there, item), (&other, item)]);
    let answers = join_all(all.map(|(at, item)| collect_keyed(at, "ann", item, "k"))).await;

    let count = |is: fn(&Keyed<Collected, Done>) -> bool| answers.iter().filter(|a| is(a)).count();
    let added = count(|answer| matches!(answer, Keyed::New(Collected::Added { .. })));
    let replayed = count(|answer| matches!(answer, Keyed::Replayed(_)));
    let mismatched = count(|answer| matches!(answer, Keyed::ContentMismatch));
    assert_eq!((added, replayed, mismatched), (1, 2, 24), "{answers:?}");
}

pub(crate) async fn one_of_two_purchases_with_the_same_key_is_done(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let other = Scene::open(world, Terms::unique(3)).await;
    let attempts = [scene.attempt("ann", &[(1, 1)]).await, other.attempt("ann", &[(1, 1)]).await];

    let answers =
        join_all([(&scene, attempts[0]), (&other, attempts[1])].map(async |(at, attempt)| {
            let key = keyed_request("k", &attempt.get().to_string());
            at.instance.ledger.settle_keyed(settle_of(at.sale, attempt), key).await.unwrap()
        }))
        .await;

    let settled = answers.iter().filter(|a| matches!(a, Keyed::New(Settled::Now(_)))).count();
    let mismatched = answers.iter().filter(|a| matches!(a, Keyed::ContentMismatch)).count();
    assert_eq!((settled, mismatched), (1, 1), "{answers:?}");
    assert_eq!(scene.progress().await.sold + other.progress().await.sold, 1);
}

pub(crate) async fn a_key_of_today_is_not_forgotten(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    added(collect_keyed(&scene, "ann", 1, "k").await);

    assert_eq!(scene.instance.keys.prune().await.unwrap(), 0);

    assert!(matches!(state(&scene, "ann", "k", "1").await, Keyed::Replayed(_)));
}

#[cfg(test)]
mod fake {
    use crate::testing::contracts::FakeShopWorld;

    super::idempotency_store_contract!(FakeShopWorld::open());
}
