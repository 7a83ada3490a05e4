//! What every [`Ledger`](crate::application::ports::Ledger) guarantees.

use futures_util::future::join_all;

use super::scene::{decided_now, line_outcomes, outcome, sold_lines};
use super::{Scene, ShopWorld, Terms};
use crate::application::ports::{Collected, Keyed, Settle, Settled};
use crate::domain::checkout::Line;
use crate::domain::ids::{AttemptId, ItemNo};
use crate::domain::purchase::LineOutcome;
use crate::domain::terms::{CheckoutTag, Declined, PurchaseTerms};
use crate::testing::builders::{attempt_id, buyer, keyed_request, line, settle_of};

macro_rules! ledger_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { ledger in $world =>
            every_line_that_can_be_sold_whole_is_sold
            the_facts_of_a_decision_are_the_stock_after_it
            a_decision_includes_all_that_the_buyer_bought
            a_repeat_gets_the_first_outcome_from_any_instance
            a_repeat_after_the_sale_gets_the_first_outcome
            duplicates_at_once_are_decided_once
            duplicates_in_one_batch_are_decided_once
            an_attempt_that_was_never_made_is_unknown
            an_attempt_of_another_sale_is_unknown
            after_the_sale_nothing_is_decided_and_nothing_stored
            before_the_sale_nothing_is_decided_and_nothing_stored
            two_hundred_buyers_get_a_hundred_unique_items_once_each
            a_stock_of_thirty_is_sold_thirty_times
            many_attempts_of_one_buyer_at_once_fill_the_limit_and_never_pass_it
            a_buyer_twice_in_one_batch_has_one_limit
            batches_of_two_instances_that_share_every_item_are_all_settled
            what_a_checkout_acknowledged_before_the_outcome_is_in_it
            what_another_instance_did_meanwhile_is_in_the_decision
            a_later_commit_for_a_buyer_has_a_larger_version
            a_purchase_of_other_lines_than_expected_sells_nothing
            a_purchase_of_all_or_nothing_sells_nothing_if_a_line_fails
            a_settled_checkout_has_its_outcome_on_any_terms
            the_checkout_of_another_buyer_is_neither_settled_nor_shown
            requests_on_different_terms_at_once_are_decided_once
        }
    };
}
pub(crate) use ledger_contract;

pub(crate) async fn every_line_that_can_be_sold_whole_is_sold(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(4, 3)).await;
    let ann = scene.attempt("ann", &[(1, 2), (2, 3)]).await;
    let bob = scene.attempt("bob", &[(1, 2), (2, 1), (3, 3)]).await;
    scene.decided(ann).await;

    let decision = scene.decided(bob).await;

    assert_eq!(
        line_outcomes(&decision.outcome),
        [(1, LineOutcome::SoldOut), (2, LineOutcome::SoldOut), (3, LineOutcome::Sold)]
    );
}

pub(crate) async fn the_facts_of_a_decision_are_the_stock_after_it(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 2)).await;
    let ann = scene.attempt("ann", &[(1, 2), (2, 1)]).await;

    let facts = scene.decided(ann).await.facts;

    assert_eq!(facts.sold, [(ItemNo(1), 2), (ItemNo(2), 1)]);
    assert_eq!(facts.sold_out, [ItemNo(1)]);
}

pub(crate) async fn a_decision_includes_all_that_the_buyer_bought(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 5)).await;
    let first = scene.attempt("ann", &[(1, 2)]).await;
    scene.decided(first).await;
    let second = scene.attempt("ann", &[(2, 3)]).await;

    assert_eq!(scene.decided(second).await.bought, 5);
}

pub(crate) async fn a_repeat_gets_the_first_outcome_from_any_instance(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::unique(2)).await;
    let there = here.at_another_instance().await;
    let ann = here.attempt("ann", &[(1, 1)]).await;
    let first = here.decided(ann).await.outcome;

    let repeats = [here.settle(ann).await, there.settle(ann).await];

    assert_eq!(repeats, [Settled::Before(first.clone()), Settled::Before(first.clone())]);
    assert_eq!(
        there.instance.ledger.outcome(here.sale, ann).await.unwrap(),
        Some((*first).clone())
    );
}

pub(crate) async fn a_repeat_after_the_sale_gets_the_first_outcome(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(2)).await;
    let ann = scene.attempt("ann", &[(1, 1)]).await;
    let first = scene.decided(ann).await.outcome;
    scene.end().await;

    assert_eq!(scene.settle(ann).await, Settled::Before(first));
}

pub(crate) async fn duplicates_at_once_are_decided_once(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::stocked(2, 50)).await;
    let there = here.at_another_instance().await;
    let ann = here.attempt("ann", &[(1, 1)]).await;
    let storm: Vec<_> = [&here, &there].into_iter().cycle().take(16).map(|at| (at, ann)).collect();

    let settled = Scene::settle_at_once(&storm).await;

    assert_eq!(decided_now(&settled), 1);
    assert!(settled.iter().all(|each| outcome(each) == outcome(&settled[0])));
    assert_eq!(here.progress().await.sold, 1);
}

pub(crate) async fn duplicates_in_one_batch_are_decided_once(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(2, 50)).await;
    let ann = scene.attempt("ann", &[(1, 1)]).await;
    let bob = scene.attempt("bob", &[(2, 1)]).await;
    let batch = [ann, bob, ann, bob, ann, bob].map(|attempt| (&scene, attempt));

    let settled = Scene::settle_at_once(&batch).await;

    assert_eq!(decided_now(&settled), 2);
    assert_eq!(scene.progress().await.sold, 2);
}

pub(crate) async fn an_attempt_that_was_never_made_is_unknown(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(1)).await;

    assert_eq!(scene.settle(attempt_id(4_711_000)).await, Settled::Unknown);
}

pub(crate) async fn an_attempt_of_another_sale_is_unknown(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(1)).await;
    let other = Scene::open(world, Terms::unique(1)).await;
    let ann = scene.attempt("ann", &[(1, 1)]).await;

    assert_eq!(other.settle(ann).await, Settled::Unknown);
}

pub(crate) async fn after_the_sale_nothing_is_decided_and_nothing_stored(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(1)).await;
    let ann = scene.attempt("ann", &[(1, 1)]).await;
    scene.end().await;

    let settled = scene.settle(ann).await;

    assert_eq!(settled, Settled::Ended);
    assert_nothing_happened(&scene, ann).await;
}

pub(crate) async fn before_the_sale_nothing_is_decided_and_nothing_stored(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::unique(1)).await;
    // A sale in which a buyer collected cannot be postponed, so the attempt is made by hand afterwards.
    scene.postpone().await;
    let ann = scene.extra_attempt("ann", &[line(1, 1)]).await;

    let settled = scene.settle(ann).await;

    assert_eq!(settled, Settled::NotStarted);
    assert_nothing_happened(&scene, ann).await;
}

async fn assert_nothing_happened(scene: &Scene<'_>, attempt: AttemptId) {
    let stored = scene.instance.ledger.outcome(scene.sale, attempt).await.unwrap();
    assert_eq!((stored, scene.progress().await.sold), (None, 0));
}

/// The names of this many buyers.
fn buyers(count: i32) -> Vec<String> {
    (0..count).map(|number| format!("buyer-{number}")).collect()
}

pub(crate) async fn two_hundred_buyers_get_a_hundred_unique_items_once_each(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::unique(100)).await;
    let there = here.at_another_instance().await;
    let names = buyers(200);
    let items = (1..=100).cycle();
    let collected = join_all(names.iter().zip(items).map(|(name, no)| here.added(name, no, 1)));
    let attempts: Vec<_> = collected.await.iter().map(|added| added.attempt).collect();
    // The two buyers of an item are at different instances.
    let (one_half, other_half) = attempts.split_at(100);
    let pairs = one_half.iter().zip(other_half);
    let race: Vec<_> = pairs.flat_map(|(one, other)| [(&here, *one), (&there, *other)]).collect();

    let settled = Scene::settle_at_once(&race).await;

    let mut sold = sold_lines(&settled);
    sold.sort_unstable();
    assert_eq!(sold, (1..=100).map(|item| (ItemNo(item), 1)).collect::<Vec<_>>());
}

pub(crate) async fn a_stock_of_thirty_is_sold_thirty_times(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::stocked(1, 30)).await;
    let scenes = [
        here.at_another_instance().await,
        here.at_another_instance().await,
        here.at_another_instance().await,
    ];
    let names = buyers(60);
    let collected = join_all(names.iter().map(|name| here.added(name, 1, 1))).await;
    let attempts = collected.iter().map(|added| added.attempt);
    let race: Vec<_> = scenes.iter().cycle().zip(attempts).collect();

    let settled = Scene::settle_at_once(&race).await;

    assert_eq!(sold_lines(&settled).len(), 30);
    assert_eq!(here.progress().await.remaining, 0);
}

pub(crate) async fn many_attempts_of_one_buyer_at_once_fill_the_limit_and_never_pass_it(
    world: &dyn ShopWorld,
) {
    let first = Scene::open(world, Terms::stocked(8, 100)).await;
    let mut scenes = vec![];
    let mut attempts = vec![];
    for item in 1..=8 {
        scenes.push(first.at_another_instance().await);
        attempts.push(first.extra_attempt("ann", &[line(item, 3)]).await);
    }
    let race: Vec<_> = scenes.iter().zip(attempts).collect();

    let settled = Scene::settle_at_once(&race).await;

    // Any three lines of three pieces fit into the limit of ten.
    let bought: i32 = sold_lines(&settled).iter().map(|(_, pieces)| pieces).sum();
    assert_eq!((decided_now(&settled), bought), (8, 9));
}

pub(crate) async fn a_buyer_twice_in_one_batch_has_one_limit(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(2, 100)).await;
    let one = scene.extra_attempt("ann", &[line(1, 6)]).await;
    let two = scene.extra_attempt("ann", &[line(2, 6)]).await;

    let settled = Scene::settle_at_once(&[(&scene, one), (&scene, two)]).await;

    let line_outcomes: Vec<LineOutcome> = settled
        .iter()
        .flat_map(|settled| &outcome(settled).lines)
        .map(|line| line.outcome)
        .collect();
    // Of two requests at the same time either may come first.
    assert!(
        line_outcomes == [LineOutcome::Sold, LineOutcome::BuyerLimit]
            || line_outcomes == [LineOutcome::BuyerLimit, LineOutcome::Sold],
        "{line_outcomes:?}"
    );
}

pub(crate) async fn batches_of_two_instances_that_share_every_item_are_all_settled(
    world: &dyn ShopWorld,
) {
    let here = Scene::open(world, Terms::stocked(5, 1_000)).await;
    let there = here.at_another_instance().await;
    let names = buyers(40);
    let collecting = names.iter().zip(0..).map(|(name, number)| {
        // Half of the buyers collect in ascending order, half in descending order.
        let items = [1, 2, 3, 4, 5].map(|item| if number % 2 == 0 { item } else { 6 - item });
        let lines = items.map(|item| (item, 1));
        let here = &here;
        async move { here.attempt(name, &lines).await }
    });
    let attempts = join_all(collecting).await;
    let race: Vec<_> = [&here, &there].into_iter().cycle().zip(attempts).collect();

    let settled = Scene::settle_at_once(&race).await;

    assert_eq!(sold_lines(&settled).len(), 200);
}

pub(crate) async fn what_a_checkout_acknowledged_before_the_outcome_is_in_it(
    world: &dyn ShopWorld,
) {
    let here = Scene::open(world, Terms::stocked(10, 1_000)).await;
    let there = here.at_another_instance().await;
    let names = buyers(20);

    let races = names.iter().map(|name| {
        let (here, there) = (&here, &there);
        async move {
            let attempt = here.attempt(name, &[(1, 1)]).await;
            let collecting = join_all((2..=9).map(|item| there.collect(name, item, 1)));
            let (collected, settled) = tokio::join!(collecting, here.settle(attempt));
            let bought: Vec<i32> =
                outcome(&settled).lines.iter().map(|line| line.line.item.0).collect();
            let acknowledged = collected.into_iter().zip(2..).filter(|(collected, _)| {
                matches!(collected, Collected::Added { attempt: to, .. } if *to == attempt)
            });
            let missing: Vec<i32> =
                acknowledged.map(|(_, item)| item).filter(|item| !bought.contains(item)).collect();
            assert!(missing.is_empty(), "{name} bought {bought:?} without {missing:?}");
        }
    });
    join_all(races).await;
}

pub(crate) async fn what_another_instance_did_meanwhile_is_in_the_decision(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::unique(4)).await;
    let there = here.at_another_instance().await;
    let ann = here.attempt("ann", &[(1, 1)]).await;
    there.added("ann", 2, 1).await;
    let bob = here.attempt("bob", &[(3, 1), (4, 1)]).await;
    there.decided(there.attempt("eve", &[(3, 1)]).await).await;

    let (ann, bob) = (here.decided(ann).await, here.decided(bob).await);

    assert_eq!(line_outcomes(&ann.outcome), [(1, LineOutcome::Sold), (2, LineOutcome::Sold)]);
    assert_eq!(line_outcomes(&bob.outcome), [(3, LineOutcome::SoldOut), (4, LineOutcome::Sold)]);
}

pub(crate) async fn a_later_commit_for_a_buyer_has_a_larger_version(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::stocked(5, 10)).await;
    let there = here.at_another_instance().await;

    let one = here.added("ann", 1, 1).await;
    let two = there.added("ann", 2, 1).await;
    let bought = here.decided(one.attempt).await;
    let three = there.added("ann", 3, 1).await;

    let versions = [one.version, two.version, bought.version, three.version];
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

fn all_or_nothing() -> PurchaseTerms {
    PurchaseTerms { all_or_nothing: true, ..PurchaseTerms::default() }
}

fn expecting(lines: &[Line]) -> PurchaseTerms {
    PurchaseTerms { lines: Some(lines.to_vec()), ..PurchaseTerms::default() }
}

pub(crate) async fn a_purchase_of_other_lines_than_expected_sells_nothing(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(3, 3)).await;
    let ann = scene.attempt("ann", &[(1, 1), (2, 2)]).await;
    let tags = Some(vec![CheckoutTag::of(&[line(1, 1)])]);
    let tagged = PurchaseTerms { tags, ..PurchaseTerms::default() };

    let declined = [
        scene.settle_on(ann, expecting(&[line(1, 1)])).await,
        scene.settle_on(ann, expecting(&[line(1, 1), line(2, 1)])).await,
        scene.settle_on(ann, tagged).await,
    ];
    let settled = scene.settle_on(ann, expecting(&[line(2, 2), line(1, 1)])).await;

    let other = |declined| Settled::Declined(declined);
    assert_eq!(
        declined,
        [other(Declined::OtherLines), other(Declined::OtherLines), other(Declined::OtherTag)]
    );
    assert_eq!(line_outcomes(outcome(&settled)), [(1, LineOutcome::Sold), (2, LineOutcome::Sold)]);
    assert_eq!(scene.progress().await.sold, 3);
}

pub(crate) async fn a_purchase_of_all_or_nothing_sells_nothing_if_a_line_fails(
    world: &dyn ShopWorld,
) {
    let scene = Scene::open(world, Terms::stocked(2, 1)).await;
    let ann = scene.attempt("ann", &[(1, 1), (2, 1)]).await;
    let bob = scene.attempt("bob", &[(2, 1)]).await;
    scene.decided(bob).await;

    let declined = scene.settle_on(ann, all_or_nothing()).await;

    let Settled::Declined(Declined::Unavailable(lines)) = &declined else {
        panic!("{declined:?}");
    };
    let outcomes: Vec<_> = lines.iter().map(|settled| settled.outcome).collect();
    assert_eq!(outcomes, [LineOutcome::Sold, LineOutcome::SoldOut]);
    assert_eq!(scene.progress().await.sold, 1);
    // The checkout is still open, and what is left of it can be bought.
    let settled = scene.settle(ann).await;
    assert_eq!(sold_lines(&[settled]), [(ItemNo(1), 1)]);
}

pub(crate) async fn a_settled_checkout_has_its_outcome_on_any_terms(world: &dyn ShopWorld) {
    let here = Scene::open(world, Terms::unique(2)).await;
    let there = here.at_another_instance().await;
    let ann = here.attempt("ann", &[(1, 1)]).await;
    let first = here.decided(ann).await.outcome;

    for scene in [&here, &there] {
        for terms in [all_or_nothing(), expecting(&[])] {
            assert_eq!(scene.settle_on(ann, terms).await, Settled::Before(first.clone()));
        }
    }
}

pub(crate) async fn requests_on_different_terms_at_once_are_decided_once(world: &dyn ShopWorld) {
    let scene = Scene::open(world, Terms::stocked(2, 9)).await;
    let ann = scene.attempt("ann", &[(1, 1), (2, 1)]).await;

    let settled = join_all([
        scene.settle_on(ann, expecting(&[line(1, 1)])),
        scene.settle_on(ann, all_or_nothing()),
        scene.settle_on(ann, expecting(&[line(1, 1), line(2, 1)])),
        scene.settle_on(ann, PurchaseTerms::default()),
    ])
    .await;

    assert_eq!(decided_now(&settled), 1, "{settled:?}");
    assert!(
        settled[1..].iter().all(|settled| !matches!(settled, Settled::Declined(_))),
        "{settled:?}"
    );
    assert_eq!(scene.progress().await.sold, 2);
}

pub(crate) async fn the_checkout_of_another_buyer_is_neither_settled_nor_shown(
    world: &dyn ShopWorld,
) {
    let here = Scene::open(world, Terms::stocked(2, 9)).await;
    let there = here.at_another_instance().await;
    let ann = here.attempt("ann", &[(1, 2)]).await;
    let bob = here.attempt("bob", &[(2, 1)]).await;
    let on_behalf_of =
        |name: &str, attempt| Settle { buyer: Some(buyer(name)), ..settle_of(here.sale, attempt) };
    let by_bob = || on_behalf_of("bob", ann);

    for instance in [&here.instance, &there.instance] {
        let settled = instance.ledger.settle(by_bob()).await.unwrap();
        assert_eq!(settled, Settled::OtherBuyer);
        let keyed = instance.ledger.settle_keyed(by_bob(), keyed_request("k", "c")).await.unwrap();
        assert_eq!(keyed, Keyed::New(Settled::OtherBuyer));
    }
    let together = [by_bob(), on_behalf_of("ann", ann), by_bob(), on_behalf_of("bob", bob)];
    let settled = join_all(together.map(|request| here.instance.ledger.settle(request))).await;
    let after = there.instance.ledger.settle(by_bob()).await.unwrap();

    let settled: Vec<Settled> = settled.into_iter().map(Result::unwrap).collect();
    assert_eq!((decided_now(&settled), after), (2, Settled::OtherBuyer));
    assert_eq!((&settled[0], &settled[2]), (&Settled::OtherBuyer, &Settled::OtherBuyer));
    assert_eq!(here.progress().await.sold, 3);
}

#[cfg(test)]
mod fake {
    use crate::testing::contracts::FakeShopWorld;

    super::ledger_contract!(FakeShopWorld::open());
}
