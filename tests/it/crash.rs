//! Instances that are killed or stopped in the middle of the rush.

use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use crate::harness::client::purchase_path;
use crate::harness::locks::waiting;
use crate::harness::storm::assert_on_record;
use crate::harness::{Storm, World, until};

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
async fn a_stopped_instance_blocks_no_buyer_and_harms_nothing_when_it_continues() {
    let world = World::of(2).await;
    let sale = world.create_sale(&format!("--items {ITEMS}")).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    storm.has_sold(ITEMS / 4).await;

    world.instances[0].process.signal(Signal::SIGSTOP);
    let receipts = storm.receipts().await;
    world.instances[0].process.signal(Signal::SIGCONT);

    until("it refuses what is sold out", async || {
        let answer = world.at(0).checkout(&sale, "late", "1").await;
        assert!([409, 503].contains(&answer.status), "{}", answer.body);
        answer.status == 409
    })
    .await;
    assert_on_record(world.at(0), &receipts).await;
    world.sells_exactly(&sale, ITEMS).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_stopped_in_the_middle_of_a_transaction_loses_its_locks() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 1 --stock 10").await;
    let ann = world.at(0).collects(&sale, "ann", "1").await;
    let bob = world.at(1).collects(&sale, "bob", "1").await;
    let mut hold = world.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM item_stock FOR UPDATE").execute(&mut *hold).await.unwrap();
    // A concurrent write to the buyer's row: only after such a conflict does the instance lock its rows, over several statements.
    let mut conflict = world.pool().begin().await.unwrap();
    let change = "UPDATE buyers SET version = version + 1 WHERE user_id = 'ann'";
    sqlx::query(change).execute(&mut *conflict).await.unwrap();
    let (client, path) = (world.at(0).clone(), purchase_path(&ann));
    let mut stopped = JoinSet::from_iter([async move { client.post(&path).await }]);
    waiting(world.pool(), 1).await;
    conflict.commit().await.unwrap();
    until("the instance has locked the buyer and waits for the item", async || {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                     AND wait_event_type = 'Lock' AND query LIKE '%buyer AS MATERIALIZED%')";
        sqlx::query_scalar::<_, bool>(waits).fetch_one(world.pool()).await.unwrap()
    })
    .await;
    world.instances[0].process.signal(Signal::SIGSTOP);
    hold.rollback().await.unwrap();
    until("its transaction holds the locks and is idle", async || {
        let idle = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                    AND state = 'idle in transaction')";
        sqlx::query_scalar::<_, bool>(idle).fetch_one(world.pool()).await.unwrap()
    })
    .await;

    // As long as it is stopped, only `database.idle_in_transaction_session_timeout` can release its locks.
    until("the other instance sells the item", async || {
        let answer = world.at(1).purchase(&bob).await;
        assert!([200, 503].contains(&answer.status), "{}", answer.body);
        answer.status == 200
    })
    .await;
    let elsewhere = world.at(1).purchase(&ann).await.is(200);
    world.instances[0].process.signal(Signal::SIGCONT);

    let stopped = stopped.join_next().await.unwrap().unwrap();
    assert_eq!(stopped.content(), elsewhere.content());
    world.sells_exactly(&sale, 2).await;
    world.at(0).buys(&sale, "zoe", "1").await;
    world.verify().await;
}
