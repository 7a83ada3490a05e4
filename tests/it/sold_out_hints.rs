//! What instances announce to each other through Redis refuses nothing by itself.

use redis::AsyncCommands;
use reqwest::Url;

use crate::harness::metrics::Metrics;
use crate::harness::{World, until};

fn hints(metrics: &Metrics, result: &str) -> f64 {
    metrics.sum("flash_sale_sold_out_hints_total", &[&format!("result=\"{result}\"")])
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_news_refuses_no_item() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 3 --stock 1").await;
    world.at(0).collects(&sale, "ann", "1").await;
    let number: i64 =
        sqlx::query_scalar("SELECT max(id) FROM sales").fetch_one(world.pool()).await.unwrap();
    let epoch: i64 =
        sqlx::query_scalar("SELECT id FROM epochs").fetch_one(world.pool()).await.unwrap();
    let mut redis = world.redis().await;
    let channel = format!("{}news", world.key_prefix);

    for message in [
        format!("{epoch} {number} 1 2 3"),
        format!("{number} 1 1 2 3"),
        "nothing of the kind".to_owned(),
    ] {
        until("the instance listens", async || {
            redis.publish::<_, _, i64>(&channel, &message).await.unwrap() > 0
        })
        .await;
    }

    until("the messages are counted", async || {
        let metrics = world.metrics(0).await;
        hints(&metrics, "refuted") >= 3.0
            && hints(&metrics, "foreign") >= 1.0
            && hints(&metrics, "unreadable") >= 1.0
    })
    .await;
    for item in ["1", "2", "3"] {
        world.at(0).buys(&sale, &format!("buyer-{item}"), item).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_installations_on_one_redis_sell_their_own_items() {
    let (ours, mut theirs) = (World::of(2).await, World::of(1).await);
    // The same prefix in another database number, which publish and subscribe ignore.
    let mut url = Url::parse(theirs.program.value("REDIS_URL")).unwrap();
    url.set_path("/1");
    theirs.program = theirs
        .program
        .clone()
        .variable("REDIS_URL", url.as_str())
        .set("redis.key_prefix", &ours.key_prefix);
    theirs.restart().await;
    let sale = ours.create_sale("--items 2 --stock 1").await;
    let twin = theirs.create_sale("--items 2 --stock 1").await;
    assert_eq!(sale, twin);
    theirs.at(0).collects(&twin, "early", "2").await;

    ours.at(0).buys(&sale, "ann", "1").await;

    until("the other instance has confirmed it", async || {
        hints(&ours.metrics(1).await, "confirmed") >= 1.0
    })
    .await;
    until("the other installation has dropped it", async || {
        hints(&theirs.metrics(0).await, "foreign") >= 1.0
    })
    .await;
    ours.at(1).checkout(&sale, "bob", "1").await.refuses(409, "item_sold_out");
    theirs.at(0).buys(&twin, "bob", "1").await;
}
