//! More than the service can take on at once is refused at once, and nothing is half done.

use crate::harness::World;
use crate::harness::locks::{hold_buyer, waiting};

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

    let mut tasks = tokio::task::JoinSet::new();
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
