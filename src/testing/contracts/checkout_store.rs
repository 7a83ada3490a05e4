//! What every [`CheckoutStore`](crate::application::ports::CheckoutStore) guarantees.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::scene::outcome;
use super::{Scene, ShopWorld, Terms};
use crate::application::ports::{Collect, Collected, Edit, Settled};
use crate::domain::ids::{AttemptId, ItemNo};
use crate::domain::terms::CheckoutTag;
use crate::testing::builders::{buyer, line, over_limit};

macro_rules! checkout_store_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { checkout_store in $world =>
            lines_are_returned_in_the_order_of_collecting
            collecting_an_item_again_sets_its_quantity
            a_retry_changes_nothing_even_from_another_instance
            the_limit_may_be_filled_and_not_passed
            beyond_the_limit_the_checkout_stays_as_it_was
            bought_pieces_count_against_the_limit
            a_sold_out_item_is_refused_with_the_facts
            a_sold_out_item_leaves_the_checkout_as_it_was
            an_item_with_pieces_again_is_collected
            after_a_purchase_the_next_checkout_is_a_new_attempt
            first_checkouts_of_one_buyer_at_once_make_one_attempt
            collecting_at_once_never_passes_the_limit
            a_purchased_attempt_takes_nothing_more_however_they_race
            before_the_sale_nothing_is_collected
            after_the_sale_nothing_is_collected
            a_checkout_without_one_of_the_tags_stays_as_it_was
        }
    };
}
pub(crate) use checkout_store_contract;

pub(crate) async fn lines_are_returned_in_the_order_of_collecting(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(9, 5)).await;
    scene.added("ann", 7, 1).await;
    scene.added("ann", 2, 3).await;

    let totals = scene.added("ann", 5, 1).await.totals;

    assert_eq!(totals.lines, [line(7, 1), line(2, 3), line(5, 1)]);
    assert_eq!(totals.bought, 0);
}

pub(crate) async fn collecting_an_item_again_sets_its_quantity(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(2, 50)).await;
    scene.added("ann", 1, 6).await;

    let totals = scene.added("ann", 1, 7).await.totals;

    assert_eq!(totals.lines, [line(1, 7)]);
}

pub(crate) async fn a_retry_changes_nothing_even_from_another_instance(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::stocked(2, 50)).await;
    let there = here.at_another_instance().await;
    let first = here.added("ann", 1, 6).await;

    for scene in [&here, &there, &here] {
        let again = scene.added("ann", 1, 6).await;

        assert_eq!((again.attempt, again.totals), (first.attempt, first.totals.clone()));
    }
}

pub(crate) async fn the_limit_may_be_filled_and_not_passed(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 50)).await;
    scene.added("ann", 1, 4).await;
    scene.added("ann", 2, 6).await;

    assert_eq!(scene.collect("ann", 3, 1).await, over_limit(0, 10));
}

pub(crate) async fn beyond_the_limit_the_checkout_stays_as_it_was(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 50)).await;
    scene.added("ann", 1, 4).await;
    scene.added("ann", 2, 5).await;
    scene.collect("ann", 1, 6).await;

    let totals = scene.added("ann", 3, 1).await.totals;

    assert_eq!(totals.lines, [line(1, 4), line(2, 5), line(3, 1)]);
}

pub(crate) async fn bought_pieces_count_against_the_limit(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 50)).await;
    let attempt = scene.attempt("ann", &[(1, 8)]).await;
    scene.decided(attempt).await;

    let refused = scene.collect("ann", 2, 3).await;
    let totals = scene.added("ann", 2, 2).await.totals;

    assert_eq!((refused, totals.bought), (over_limit(8, 0), 8));
}

pub(crate) async fn a_sold_out_item_is_refused_with_the_facts(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(2)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    let generation = scene.decided(attempt).await.facts.generation;

    let Collected::SoldOut(facts) = scene.collect("bob", 1, 1).await else {
        panic!("item 1 is sold out");
    };

    assert_eq!((facts.generation, facts.sold_out), (generation, vec![ItemNo(1)]));
}

pub(crate) async fn a_sold_out_item_leaves_the_checkout_as_it_was(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(3)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    scene.added("bob", 2, 1).await;
    scene.collect("bob", 1, 1).await;

    let totals = scene.added("bob", 3, 1).await.totals;

    assert_eq!(totals.lines, [line(2, 1), line(3, 1)]);
}

pub(crate) async fn an_item_with_pieces_again_is_collected(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(1)).await;
    let attempt = scene.attempt("ann", &[(1, 1)]).await;
    scene.decided(attempt).await;
    world.set_stock(scene.sale, ItemNo(1), 2).await;

    let totals = scene.added("bob", 1, 1).await.totals;

    assert_eq!(totals.lines, [line(1, 1)]);
}

pub(crate) async fn after_a_purchase_the_next_checkout_is_a_new_attempt(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(2, 5)).await;
    let first = scene.attempt("ann", &[(1, 2)]).await;
    scene.decided(first).await;

    let next = scene.added("ann", 2, 1).await;

    assert_ne!(next.attempt, first);
    assert_eq!(next.totals.lines, [line(2, 1)]);
}

pub(crate) async fn first_checkouts_of_one_buyer_at_once_make_one_attempt(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::stocked(10, 5)).await;
    let there = here.at_another_instance().await;
    let scenes = [&here, &there].into_iter().cycle();

    let added = join_all(scenes.zip(1..=9).map(|(scene, item)| scene.added("ann", item, 1))).await;

    let attempts: BTreeSet<_> = added.iter().map(|added| added.attempt).collect();
    let totals = here.added("ann", 10, 1).await.totals;
    assert_eq!((attempts.len(), totals.lines.len()), (1, 10));
}

pub(crate) async fn collecting_at_once_never_passes_the_limit(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::stocked(8, 50)).await;
    let there = here.at_another_instance().await;
    let scenes = [&here, &there].into_iter().cycle();

    let all = join_all(scenes.zip(1..=8).map(|(scene, item)| scene.collect("ann", item, 3))).await;

    let added = all.iter().filter(|collected| matches!(collected, Collected::Added { .. }));
    assert_eq!(added.count(), 3);
}

pub(crate) async fn a_purchased_attempt_takes_nothing_more_however_they_race(
    world: &dyn ShopWorld,
) {
    let here = Scene::open(world, Terms::stocked(10, 1_000)).await;
    let there = here.at_another_instance().await;
    let first = here.attempt("ann", &[(1, 1)]).await;

    let collecting = join_all((2..=9).map(|item| there.added("ann", item, 1)));
    let (added, settled) = tokio::join!(collecting, here.settle(first));

    // Every line is either in the outcome or in the new checkout, and never in both.
    let later = added.iter().filter(|added| added.attempt != first).count();
    assert_eq!(outcome(&settled).lines.len() + later, 9);
    assert_eq!(here.settle(first).await, Settled::Before(outcome(&settled).clone()));
}

pub(crate) async fn before_the_sale_nothing_is_collected(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(2)).await;
    scene.postpone().await;

    assert_eq!(scene.collect("ann", 1, 1).await, Collected::NotStarted);
}

pub(crate) async fn after_the_sale_nothing_is_collected(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(2)).await;
    scene.added("ann", 1, 1).await;
    scene.end().await;

    assert_eq!(scene.collect("ann", 2, 1).await, Collected::Ended);
}

pub(crate) async fn a_checkout_without_one_of_the_tags_stays_as_it_was(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::stocked(3, 50)).await;
    let there = here.at_another_instance().await;
    let attempt = here.attempt("ann", &[(1, 2), (2, 1)]).await;
    let seen = vec![CheckoutTag::of(&[line(2, 1), line(1, 2)])];
    let change = async |scene: &Scene<'_>, edit: Edit| {
        scene
            .instance
            .checkouts
            .collect(Collect {
                sale: scene.sale,
                buyer: buyer("ann"),
                attempt: Some::<AttemptId>(attempt),
                edit,
                tags: Some(seen.clone()),
            })
            .await
            .unwrap()
    };

    let first = change(&there, Edit::Set(vec![line(3, 1)])).await;
    let set = change(&here, Edit::Set(vec![line(3, 2)])).await;
    let removed = change(&here, Edit::Remove(ItemNo(1))).await;

    assert!(matches!(first, Collected::Added { .. }), "{first:?}");
    assert_eq!([set, removed], [Collected::OtherTag, Collected::OtherTag]);
    let found = here.instance.checkouts.find(here.sale, attempt).await.unwrap().unwrap();
    assert_eq!(found.lines, [line(1, 2), line(2, 1), line(3, 1)]);
}

#[cfg(test)]
mod fake {
    use crate::testing::contracts::FakeShopWorld;

    super::checkout_store_contract!(FakeShopWorld::open());
}
