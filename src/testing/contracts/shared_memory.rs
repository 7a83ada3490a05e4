//! What every [`SharedMemory`](crate::application::ports::SharedMemory) keeps, together with its `FilterBuilder` and its
//! `MemoryReader`.

use super::eventually;
use super::mind::{MemoryWorld, Mind};
use crate::application::ports::{Belief, Remembered, StockFacts, Totals};
use crate::testing::builders::buyer;

macro_rules! shared_memory_contract {
    ($world:expr) => {
        $crate::testing::contracts::cases! { shared_memory in $world =>
            a_memory_without_a_filter_is_cold
            collected_and_bought_pieces_are_believed_exactly_up_to_the_limit
            setting_the_same_item_again_does_not_count_it_twice
            an_older_standing_is_ignored
            a_repeated_standing_changes_nothing
            a_newer_standing_takes_the_place_of_all_lines
            a_standing_of_one_buyer_says_nothing_of_another
            what_one_instance_remembers_all_believe
            a_sold_out_item_is_in_the_filter_at_once
            a_rebuilt_filter_holds_what_is_sold_out_and_nothing_else
            what_is_added_during_a_rebuild_survives_it
            a_restocked_item_leaves_with_the_next_rebuild
            a_sale_is_sold_out_when_all_its_pieces_are_sold
            smaller_and_repeated_totals_change_nothing
            facts_of_another_generation_are_ignored
            totals_are_missing_until_a_rebuild_told_them
            a_memory_that_lost_everything_is_cold_until_it_is_rebuilt
            the_reader_counts_pieces_by_buyer
        }
    };
}
pub(crate) use shared_memory_contract;

pub(crate) async fn a_memory_without_a_filter_is_cold(world: &dyn MemoryWorld) {
    assert_eq!(Mind::of(world).believes("ann", 1, 1).await, Belief::Cold);
}

pub(crate) async fn collected_and_bought_pieces_are_believed_exactly_up_to_the_limit(
    world: &dyn MemoryWorld,
) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    mind.stands("ann", &[(1, 2), (3, 2)], 3, 1);
    mind.has_arrived().await;

    let beliefs = (mind.believes("ann", 2, 3).await, mind.believes("ann", 2, 4).await);

    assert_eq!(beliefs, (Belief::Fine, Belief::OverLimit { version: 1 }));
}

pub(crate) async fn setting_the_same_item_again_does_not_count_it_twice(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    mind.stands("ann", &[(1, 4)], 3, 1);
    mind.has_arrived().await;

    let beliefs = (mind.believes("ann", 1, 7).await, mind.believes("ann", 1, 8).await);

    assert_eq!(beliefs, (Belief::Fine, Belief::OverLimit { version: 1 }));
}

pub(crate) async fn an_older_standing_is_ignored(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    // They may be told together, or one after the other.
    mind.stands("ann", &[(1, 2)], 0, 1_700_000_000_000_002);
    mind.stands("ann", &[(1, 2), (2, 8)], 0, 1_700_000_000_000_001);
    mind.stands("bob", &[(1, 2)], 0, 1_700_000_000_000_002);
    mind.has_arrived().await;
    mind.stands("bob", &[(1, 2), (2, 8)], 0, 1_700_000_000_000_001);
    mind.has_arrived().await;

    assert_eq!(mind.believes("ann", 3, 8).await, Belief::Fine);
    assert_eq!(mind.believes("bob", 3, 8).await, Belief::Fine);
}

pub(crate) async fn a_repeated_standing_changes_nothing(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    for _ in 0..3 {
        mind.stands("ann", &[(1, 2)], 3, 7);
    }
    mind.has_arrived().await;

    assert_eq!(mind.believes("ann", 3, 5).await, Belief::Fine);
}

pub(crate) async fn a_newer_standing_takes_the_place_of_all_lines(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    mind.stands("ann", &[(1, 2), (2, 8)], 0, 1);
    mind.stands("ann", &[], 2, 2);
    mind.has_arrived().await;

    assert_eq!(mind.believes("ann", 3, 8).await, Belief::Fine);
}

pub(crate) async fn a_standing_of_one_buyer_says_nothing_of_another(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    mind.stands("ann", &[], 10, 1);
    mind.has_arrived().await;

    assert_eq!(mind.believes("Ann", 1, 10).await, Belief::Fine);
}

pub(crate) async fn what_one_instance_remembers_all_believe(world: &dyn MemoryWorld) {
    let (here, there) = (Mind::of(world), Mind::of(world));
    here.rebuild(&[]).await;
    here.stands("ann", &[(1, 2)], 8, 1);
    here.has_arrived().await;

    assert_eq!(there.believes("ann", 2, 1).await, Belief::OverLimit { version: 1 });
}

pub(crate) async fn a_sold_out_item_is_in_the_filter_at_once(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    mind.sold(&[(7, 1)], &[7]);
    mind.has_arrived().await;

    let beliefs = (mind.believes("ann", 7, 1).await, mind.believes("ann", 8, 1).await);

    assert_eq!(beliefs, (Belief::ItemInFilter, Belief::Fine));
}

pub(crate) async fn a_rebuilt_filter_holds_what_is_sold_out_and_nothing_else(
    world: &dyn MemoryWorld,
) {
    let mind = Mind::of(world);
    let sold_out: Vec<i32> = (1..=50).collect();
    mind.rebuild(&sold_out).await;

    let mut held = Vec::new();
    for item in 1..=100 {
        if mind.believes("ann", item, 1).await == Belief::ItemInFilter {
            held.push(item);
        }
    }

    // A filter of bits may err once in a thousand; these numbers are always the same.
    assert_eq!(held, sold_out);
}

pub(crate) async fn what_is_added_during_a_rebuild_survives_it(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    let totals = mind.begin().await;
    let read_before = mind.facts(&[], &[1]);
    mind.sold(&[(2, 1)], &[2]);
    mind.has_arrived().await;
    mind.publish(totals, read_before, 1_000_000).await;

    let beliefs = (mind.believes("ann", 1, 1).await, mind.believes("ann", 2, 1).await);

    assert_eq!(beliefs, (Belief::ItemInFilter, Belief::ItemInFilter));
}

pub(crate) async fn a_restocked_item_leaves_with_the_next_rebuild(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[1, 2]).await;
    mind.rebuild(&[2]).await;

    let beliefs = (mind.believes("ann", 1, 1).await, mind.believes("ann", 2, 1).await);

    assert_eq!(beliefs, (Belief::Fine, Belief::ItemInFilter));
}

pub(crate) async fn a_sale_is_sold_out_when_all_its_pieces_are_sold(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    let totals = mind.begin().await;
    mind.publish(totals, mind.facts(&[(1, 4)], &[]), 7).await;

    mind.sold(&[(2, 3)], &[]);

    eventually("the sale is sold out", async || {
        mind.believes("ann", 5, 1).await == Belief::SaleSoldOut
    })
    .await;
}

pub(crate) async fn smaller_and_repeated_totals_change_nothing(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    let totals = mind.begin().await;
    mind.publish(totals, mind.facts(&[(1, 4)], &[]), 7).await;

    for _ in 0..3 {
        mind.sold(&[(1, 5)], &[]);
        mind.sold(&[(1, 1)], &[]);
    }
    mind.has_arrived().await;
    let before = mind.believes("ann", 5, 1).await;
    mind.sold(&[(2, 2)], &[]);

    assert_eq!(before, Belief::Fine);
    eventually("seven of seven are sold", async || {
        mind.believes("ann", 5, 1).await == Belief::SaleSoldOut
    })
    .await;
}

pub(crate) async fn facts_of_another_generation_are_ignored(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    let old = StockFacts { generation: 0, ..mind.facts(&[(1, 1)], &[1]) };
    mind.instance.memory.remember_stock(&mind.sale, old);
    mind.has_arrived().await;

    assert_eq!(mind.believes("ann", 1, 1).await, Belief::Fine);
}

pub(crate) async fn totals_are_missing_until_a_rebuild_told_them(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    let first = mind.begin().await;
    mind.publish(first, mind.facts(&[(1, 1)], &[]), 7).await;

    assert_eq!((first, mind.begin().await), (Totals::Missing, Totals::Known));
}

pub(crate) async fn a_memory_that_lost_everything_is_cold_until_it_is_rebuilt(
    world: &dyn MemoryWorld,
) {
    let mind = Mind::of(world);
    mind.rebuild(&[1]).await;
    mind.stands("ann", &[(1, 2)], 8, 1);
    mind.has_arrived().await;
    world.lose_everything().await;

    let (sold_out, over) = (mind.believes("ann", 1, 1).await, mind.believes("ann", 2, 1).await);
    mind.rebuild(&[1]).await;

    assert_eq!((sold_out, over), (Belief::Cold, Belief::Cold));
    assert_eq!(mind.believes("ann", 1, 1).await, Belief::ItemInFilter);
}

pub(crate) async fn the_reader_counts_pieces_by_buyer(world: &dyn MemoryWorld) {
    let mind = Mind::of(world);
    mind.rebuild(&[]).await;
    mind.stands("ann", &[(1, 2), (7, 1)], 4, 1);
    mind.stands("bo:b{x}*", &[], 1, 5);
    mind.has_arrived().await;

    let mut counted = mind.instance.reader.remembered(mind.sale.id).await.unwrap();

    counted.retain(|one| one.buyer != buyer("mark"));
    counted.sort_by_key(|one| one.pieces);
    let one = |who, version, pieces| Remembered { buyer: buyer(who), version, pieces };
    assert_eq!(counted, [one("bo:b{x}*", 5, 1), one("ann", 1, 7)]);
}

#[cfg(test)]
mod fake {
    use std::sync::Arc;

    use crate::testing::fakes::FakeSharedMemory;

    super::shared_memory_contract!(Arc::<FakeSharedMemory>::default());
}
