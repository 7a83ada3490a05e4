//! More than the service can take on at once is refused at once, and nothing is half done.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told_at_once_and_whoever_waits_is_served() {
    let world = World::plan(1)
        .set("batch.queue_size", "4")
        .set("batch.checkout_size", "1")
        .set("batch.checkout_writers", "1")
        .set("batch.queue_timeout", "9s")
        .set("database.lock_timeout", "4s")
        .start()
        .await;
    let sale = world.create_sale("--items 50").await;
    world.at(0).collects(&sale, "ann", "1").await;
    let hold = hold_buyer(world.pool(), "ann").await;
    let wish = |user: &str| {
        let (client, sale, user) = (world.at(0).clone(), sale.clone(), user.to_owned());
        async move { client.checkout(&sale, &user, "2").await }
    };

    let mut tasks = JoinSet::new();
    tasks.spawn(wish("ann"));
    waiting(world.pool(), 1).await;
    for number in 0..30 {
        tasks.spawn(wish(&format!("buyer-{number}")));
    }
    // Few of them fit; most are told while the others still wait.
    for _ in 0..20 {
        let refused = tasks.join_next().await.unwrap().unwrap();
        assert!(refused.refuses(503, "overloaded").header("retry-after").is_some());
    }
    hold.rollback().await.unwrap();
    let rest = tasks.join_all().await;

    let served = rest.iter().filter(|answer| answer.status == 200).count();
    assert!(served >= 5, "the writer's and the queue's own were not all served: {served}");
    assert!(rest.iter().all(|answer| [200, 503].contains(&answer.status)));
    world.at(0).buys(&sale, "buyer-0", "2").await;
    world.every_piece_is_sold_or_buyable(&sale, 50).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_whose_time_ran_out_in_the_queue_is_told_so_and_never_happens() {
    let queue_timeout = Duration::from_millis(300);
    let world = World::plan(1)
        .set("batch.purchase_size", "1")
        .set("batch.queue_timeout", "300ms")
        .set("database.lock_timeout", "20s")
        .set("database.statement_timeout", "20s")
        .start()
        .await;
    let sale = world.create_sale("--items 9").await;
    let first = world.at(0).collects(&sale, "ann", "1").await;
    let mut late = Vec::new();
    for item in 2..=6 {
        late.push(world.at(0).collects(&sale, &format!("late-{item}"), &item.to_string()).await);
    }
    let hold = hold_buyer(world.pool(), "ann").await;
    let purchase = |code: &String| {
        let (client, code) = (world.at(0).clone(), code.clone());
        async move { client.purchase(&code).await }
    };
    let mut first = JoinSet::from_iter([purchase(&first)]);
    waiting(world.pool(), 1).await;
    let told: JoinSet<_> = late.iter().map(purchase).collect();
    queued(&world, late.len()).await;

    // Time is what they must run out of.
    tokio::time::sleep(2 * queue_timeout).await;
    hold.rollback().await.unwrap();

    first.join_next().await.unwrap().unwrap().is(200);
    for answer in told.join_all().await {
        assert!(answer.refuses(503, "overloaded").header("retry-after").is_some());
    }
    let stored = "SELECT count(*) FROM purchases";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(world.pool()).await.unwrap();
    assert_eq!(stored, 1);
    for code in late {
        let answer = world.at(0).purchase(&code).await.is(200);
        assert_eq!(answer.header("idempotent-replayed"), None);
    }
    world.verify().await;
}

/// Waits until so many purchases wait for their batch.
async fn queued(world: &World, purchases: usize) {
    let purchases = f64::from(u32::try_from(purchases).unwrap());
    until("they are in the queue", async || {
        let queue = ["queue=\"purchase\""];
        world.metrics(0).await.sum("flash_sale_queue_depth", &queue) >= purchases
    })
    .await;
}
