//! Requests beyond the service's capacity are refused at once, and leave no partial effect.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{World, eventually, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_requests_in_it_are_served() {
    let world = World::plan(1)
        .set("batch.queue_size", "4")
        .set("batch.checkout_size", "1")
        .set("batch.checkout_writers", "1")
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
    // The queue takes four; the others are refused while these still wait.
    for _ in 0..20 {
        let refused = tasks.join_next().await.unwrap().unwrap();
        assert!(refused.refuses(503, "overloaded").header("retry-after").is_some());
    }
    hold.rollback().await.unwrap();
    let rest = tasks.join_all().await;

    let served = rest.iter().filter(|answer| answer.status == 200).count();
    assert!(
        served >= 5,
        "the requests of the writer and of the queue were not all served: {served}"
    );
    assert!(rest.iter().all(|answer| [200, 503].contains(&answer.status)));
    world.at(0).buys(&sale, "buyer-0", "2").await;
    world.every_piece_is_sold_or_buyable(&sale, 50).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_whose_time_ran_out_in_the_queue_is_refused_and_never_happens() {
    let queue_timeout = Duration::from_secs(1);
    let world = World::plan(1)
        .set("batch.purchase_size", "1")
        .set("batch.queue_timeout", "1s")
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
    let purchases: JoinSet<_> = late.iter().map(purchase).collect();
    queued(&world, late.len()).await;

    // This is what is tested: their time in the queue runs out.
    tokio::time::sleep(2 * queue_timeout).await;
    hold.rollback().await.unwrap();

    first.join_next().await.unwrap().unwrap().is(200);
    for answer in purchases.join_all().await {
        assert!(answer.refuses(503, "overloaded").header("retry-after").is_some());
    }
    let stored = "SELECT count(*) FROM purchases";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(world.pool()).await.unwrap();
    assert_eq!(stored, 1);
    for code in late {
        let answer = eventually("the purchase is served", async || {
            let answer = world.at(0).purchase(&code).await;
            assert!([200, 503].contains(&answer.status), "{}", answer.body);
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert_eq!(answer.header("idempotent-replayed"), None);
    }
    world.verify().await;
}

/// Waits until this many purchases wait for a batch.
async fn queued(world: &World, purchases: usize) {
    let purchases = f64::from(u32::try_from(purchases).unwrap());
    until("they are in the queue", async || {
        let queue = ["queue=\"purchase\""];
        world.metrics(0).await.sum("flash_sale_queue_depth", &queue) >= purchases
    })
    .await;
}
