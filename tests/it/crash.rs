//! Instances that die or stop in the middle of the rush.

use nix::sys::signal::Signal;

use crate::harness::storm::assert_on_record;
use crate::harness::{Storm, World};

/// Unique items of a rush.
const ITEMS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_instance_acknowledged_is_there_and_the_rest_can_be_bought() {
    let mut world = World::of(2).await;
    let sale = world.create_sale(&format!("--items {ITEMS}")).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    storm.has_sold(ITEMS / 4).await;

    let mut killed = world.instances.remove(0);
    killed.process.signal(Signal::SIGKILL);

    assert_eq!(killed.process.exit().await, None);
    let receipts = storm.receipts().await;
    assert_on_record(world.at(0), &receipts).await;
    world.sells_exactly(&sale, ITEMS).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instances_killed_at_once_come_back_without_a_loss() {
    let mut world = World::of(2).await;
    let sale = world.create_sale("--items 60 --stock 2").await;
    let mut sold = Vec::new();
    for item in 1..=20 {
        sold.push(
            world.at(item % 2).buys(&sale, &format!("buyer-{item}"), &item.to_string()).await,
        );
    }
    let open = world.at(0).collects(&sale, "ann", "30").await;

    for instance in world.instances.drain(..) {
        instance.process.signal(Signal::SIGKILL);
    }
    world.start(2).await;

    for code in sold {
        assert_eq!(
            world.at(0).get(&format!("/purchases/{code}")).await.is(200).at("/success"),
            true
        );
    }
    assert_eq!(world.at(1).purchase(&open).await.is(200).at("/total_purchased"), 1);
    world.sells_exactly(&sale, 21).await;
    world.every_piece_is_sold_or_buyable(&sale, 120).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_holds_nobody_up_and_harms_nothing_when_it_goes_on() {
    let world = World::of(2).await;
    let sale = world.create_sale(&format!("--items {ITEMS}")).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    storm.has_sold(ITEMS / 4).await;

    world.instances[0].process.signal(Signal::SIGSTOP);
    let receipts = storm.receipts().await;
    world.instances[0].process.signal(Signal::SIGCONT);

    world.at(0).checkout(&sale, "late", "1").await.is(409);
    assert_on_record(world.at(0), &receipts).await;
    world.sells_exactly(&sale, ITEMS).await;
    world.verify().await;
}
