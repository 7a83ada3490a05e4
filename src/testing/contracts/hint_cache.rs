//! What every [`HintCache`](crate::application::ports::HintCache) guarantees, together with its `FilterBuilder` and its
//! `HintReader`.

use super::eventually::eventually;
use super::hint_cache_fixture::{HintCacheFixture, HintCacheWorld};
use crate::application::ports::{BuiltFrom, CachedTotals, Hint, ItemTotals, StockFacts};
use crate::testing::builders::buyer;

macro_rules! hint_cache_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { hint_cache in $world =>
            a_sale_without_a_filter_is_cold
            collected_and_bought_pieces_fit_exactly_up_to_the_limit
            setting_the_same_item_again_does_not_count_it_twice
            older_buyer_totals_are_ignored
            a_repeated_version_changes_nothing
            a_newer_version_replaces_all_lines
            buyers_have_totals_of_their_own
            what_one_instance_writes_every_instance_reads
            a_sold_out_item_is_in_the_filter_at_once
            a_rebuilt_filter_holds_what_is_sold_out_and_nothing_else
            what_is_added_during_a_rebuild_survives_it
            a_restocked_item_leaves_with_the_next_rebuild
            a_sale_is_sold_out_when_all_its_pieces_are_sold
            smaller_and_repeated_totals_change_nothing
            facts_of_another_generation_are_ignored
            totals_are_missing_until_a_rebuild_writes_them
            a_filter_knows_what_it_was_built_from
            a_sale_that_was_lost_is_cold_until_it_is_rebuilt
            the_reader_counts_pieces_by_buyer
        }
    };
}
pub(crate) use hint_cache_contract;

pub(crate) async fn a_sale_without_a_filter_is_cold(world: &dyn HintCacheWorld) {
    assert_eq!(HintCacheFixture::of(world).precheck("ann", 1, 1).await, Hint::Cold);
}

pub(crate) async fn collected_and_bought_pieces_fit_exactly_up_to_the_limit(
    world: &dyn HintCacheWorld,
) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    fixture.update_totals("ann", &[(1, 2), (3, 2)], 3, 1);
    fixture.wait_until_written().await;

    let hints = (fixture.precheck("ann", 2, 3).await, fixture.precheck("ann", 2, 4).await);

    assert_eq!(hints, (Hint::Clear, Hint::OverLimit { version: 1 }));
}

pub(crate) async fn setting_the_same_item_again_does_not_count_it_twice(
    world: &dyn HintCacheWorld,
) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    fixture.update_totals("ann", &[(1, 4)], 3, 1);
    fixture.wait_until_written().await;

    let hints = (fixture.precheck("ann", 1, 7).await, fixture.precheck("ann", 1, 8).await);

    assert_eq!(hints, (Hint::Clear, Hint::OverLimit { version: 1 }));
}

pub(crate) async fn older_buyer_totals_are_ignored(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    // Both orders: written together, and one after the other.
    fixture.update_totals("ann", &[(1, 2)], 0, 1_700_000_000_000_002);
    fixture.update_totals("ann", &[(1, 2), (2, 8)], 0, 1_700_000_000_000_001);
    fixture.update_totals("bob", &[(1, 2)], 0, 1_700_000_000_000_002);
    fixture.wait_until_written().await;
    fixture.update_totals("bob", &[(1, 2), (2, 8)], 0, 1_700_000_000_000_001);
    fixture.wait_until_written().await;

    assert_eq!(fixture.precheck("ann", 3, 8).await, Hint::Clear);
    assert_eq!(fixture.precheck("bob", 3, 8).await, Hint::Clear);
}

pub(crate) async fn a_repeated_version_changes_nothing(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    for _ in 0..3 {
        fixture.update_totals("ann", &[(1, 2)], 3, 7);
    }
    fixture.wait_until_written().await;

    assert_eq!(fixture.precheck("ann", 3, 5).await, Hint::Clear);
}

pub(crate) async fn a_newer_version_replaces_all_lines(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    fixture.update_totals("ann", &[(1, 2), (2, 8)], 0, 1);
    fixture.update_totals("ann", &[], 2, 2);
    fixture.wait_until_written().await;

    assert_eq!(fixture.precheck("ann", 3, 8).await, Hint::Clear);
}

pub(crate) async fn buyers_have_totals_of_their_own(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    fixture.update_totals("ann", &[], 10, 1);
    fixture.wait_until_written().await;

    assert_eq!(fixture.precheck("Ann", 1, 10).await, Hint::Clear);
}

pub(crate) async fn what_one_instance_writes_every_instance_reads(world: &dyn HintCacheWorld) {
    let (here, there) = (HintCacheFixture::of(world), HintCacheFixture::of(world));
    here.rebuild(&[]).await;
    here.update_totals("ann", &[(1, 2)], 8, 1);
    here.wait_until_written().await;

    assert_eq!(there.precheck("ann", 2, 1).await, Hint::OverLimit { version: 1 });
}

pub(crate) async fn a_sold_out_item_is_in_the_filter_at_once(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    fixture.update_stock(&[(7, 1)], &[7]);
    fixture.wait_until_written().await;

    let hints = (fixture.precheck("ann", 7, 1).await, fixture.precheck("ann", 8, 1).await);

    assert_eq!(hints, (Hint::ItemInFilter, Hint::Clear));
}

pub(crate) async fn a_rebuilt_filter_holds_what_is_sold_out_and_nothing_else(
    world: &dyn HintCacheWorld,
) {
    let fixture = HintCacheFixture::of(world);
    let sold_out: Vec<i32> = (1..=50).collect();
    fixture.rebuild(&sold_out).await;

    let mut held = Vec::new();
    for item in 1..=100 {
        if fixture.precheck("ann", item, 1).await == Hint::ItemInFilter {
            held.push(item);
        }
    }

    // A Bloom filter has false positives, one in a thousand; for these numbers there are none, in every run.
    assert_eq!(held, sold_out);
}

pub(crate) async fn what_is_added_during_a_rebuild_survives_it(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    let totals = fixture.begin().await;
    let read_before = fixture.facts(&[], &[1]);
    fixture.update_stock(&[(2, 1)], &[2]);
    fixture.wait_until_written().await;
    fixture.publish(totals, read_before, 1_000_000).await;

    let hints = (fixture.precheck("ann", 1, 1).await, fixture.precheck("ann", 2, 1).await);

    assert_eq!(hints, (Hint::ItemInFilter, Hint::ItemInFilter));
}

pub(crate) async fn a_restocked_item_leaves_with_the_next_rebuild(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[1, 2]).await;
    fixture.rebuild(&[2]).await;

    let hints = (fixture.precheck("ann", 1, 1).await, fixture.precheck("ann", 2, 1).await);

    assert_eq!(hints, (Hint::Clear, Hint::ItemInFilter));
}

pub(crate) async fn a_sale_is_sold_out_when_all_its_pieces_are_sold(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    let totals = fixture.begin().await;
    fixture.publish(totals, fixture.facts(&[(1, 4)], &[]), 7).await;

    fixture.update_stock(&[(2, 3)], &[]);

    eventually("the sale is sold out", async || {
        fixture.precheck("ann", 5, 1).await == Hint::SaleSoldOut
    })
    .await;
}

pub(crate) async fn smaller_and_repeated_totals_change_nothing(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    let totals = fixture.begin().await;
    fixture.publish(totals, fixture.facts(&[(1, 4)], &[]), 7).await;

    for _ in 0..3 {
        fixture.update_stock(&[(1, 5)], &[]);
        fixture.update_stock(&[(1, 1)], &[]);
    }
    fixture.wait_until_written().await;
    let before = fixture.precheck("ann", 5, 1).await;
    fixture.update_stock(&[(2, 2)], &[]);

    assert_eq!(before, Hint::Clear);
    eventually("seven of seven are sold", async || {
        fixture.precheck("ann", 5, 1).await == Hint::SaleSoldOut
    })
    .await;
}

pub(crate) async fn facts_of_another_generation_are_ignored(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    let old = StockFacts { generation: 0, ..fixture.facts(&[(1, 1)], &[1]) };
    fixture.instance.hints.update_stock(&fixture.sale, old);
    fixture.wait_until_written().await;

    assert_eq!(fixture.precheck("ann", 1, 1).await, Hint::Clear);
}

pub(crate) async fn totals_are_missing_until_a_rebuild_writes_them(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    let first = fixture.begin().await;
    fixture.publish(first, fixture.facts(&[(1, 1)], &[]), 7).await;

    assert_eq!((first, fixture.begin().await), (ItemTotals::Missing, ItemTotals::Known));
}

pub(crate) async fn a_filter_knows_what_it_was_built_from(world: &dyn HintCacheWorld) {
    let (here, there) = (HintCacheFixture::of(world), HintCacheFixture::of(world));
    let built_from = async || there.instance.builder.built_from(&there.sale).await.unwrap();
    let missing = built_from().await;
    here.begin().await;
    let begun = built_from().await;
    here.rebuild(&[1, 7]).await;
    let built = built_from().await;
    world.clear().await;

    let generation = here.sale.generation;
    assert_eq!((missing, begun), (None, None));
    assert_eq!(built, Some(BuiltFrom { generation, sold_out: 2 }));
    assert_eq!(built_from().await, None);
}

pub(crate) async fn a_sale_that_was_lost_is_cold_until_it_is_rebuilt(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[1]).await;
    fixture.update_totals("ann", &[(1, 2)], 8, 1);
    fixture.wait_until_written().await;
    world.clear().await;

    let (sold_out, over) =
        (fixture.precheck("ann", 1, 1).await, fixture.precheck("ann", 2, 1).await);
    fixture.rebuild(&[1]).await;

    assert_eq!((sold_out, over), (Hint::Cold, Hint::Cold));
    assert_eq!(fixture.precheck("ann", 1, 1).await, Hint::ItemInFilter);
}

pub(crate) async fn the_reader_counts_pieces_by_buyer(world: &dyn HintCacheWorld) {
    let fixture = HintCacheFixture::of(world);
    fixture.rebuild(&[]).await;
    fixture.update_totals("ann", &[(1, 2), (7, 1)], 4, 1);
    fixture.update_totals("bo:b{x}*", &[], 1, 5);
    fixture.wait_until_written().await;

    let mut counted = fixture.instance.reader.cached_totals(fixture.sale.id).await.unwrap();

    counted.retain(|one| one.buyer != buyer("mark"));
    counted.sort_by_key(|one| one.pieces);
    let one = |who, version, pieces| CachedTotals { buyer: buyer(who), version, pieces };
    assert_eq!(counted, [one("bo:b{x}*", 5, 1), one("ann", 1, 7)]);
}

#[cfg(test)]
mod fake {
    use std::sync::Arc;

    use crate::testing::fakes::FakeHintCache;

    super::hint_cache_contract!(Arc::<FakeHintCache>::default());
}
