//! What instances refuse from memory, and for how long.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{World, until};

/// Promise I2: a fact that is older refuses no request.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// Consecutive refusals that must not reach PostgreSQL.
const REFUSALS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_sold_the_others_refuse_without_postgresql() {
    let world = World::of(3).await;
    let sale = world.create_sale("--items 2").await;

    world.at(0).buys(&sale, "ann", "1").await;
    for instance in 0..3 {
        refuses_from_memory(&world, instance, &sale, "item_sold_out").await;
    }
    world.at(1).buys(&sale, "bob", "2").await;
    for instance in 0..3 {
        refuses_from_memory(&world, instance, &sale, "sale_sold_out").await;
    }

    world.verify().await;
}

/// Waits until an instance refuses the first item many times in a row without a batch.
async fn refuses_from_memory(world: &World, instance: usize, sale: &str, code: &str) {
    until(&format!("instance {instance} refuses with {code} from memory"), async || {
        let before = batches(world, instance).await;
        for _ in 0..REFUSALS {
            let answer = world.at(instance).checkout(sale, "cid", "1").await.is(409);
            if answer.status_and_code().1 != code {
                return false;
            }
        }
        batches(world, instance).await <= before
    })
    .await;
}

/// Number of checkout batches that an instance has run.
async fn batches(world: &World, instance: usize) -> f64 {
    let queue = ["queue=\"checkout\""];
    world.metrics(instance).await.sum("flash_sale_batch_size_count", &queue)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_refused_for_what_was_sold_out_more_than_a_second_ago() {
    let world = World::of(3).await;
    let sale = world.create_sale("--items 1 --buyer-limit 20").await;
    for round in 0..3 {
        world.at(round).buys(&sale, &format!("early-{round}"), "1").await;
        for instance in 0..3 {
            until("the instance refuses from memory", async || {
                let answer = world.at(instance).checkout(&sale, "bob", "1").await;
                answer.status_and_code() == (409, "sale_sold_out".to_owned())
            })
            .await;
        }

        restock(&world).await;

        let restocked = Instant::now();
        for instance in 0..3 {
            until("it can be collected", async || {
                // The age of the fact when the request is sent: what the machine takes for the rest does not count.
                let age = restocked.elapsed();
                let answer = world.at(instance).checkout(&sale, "cid", "1").await;
                assert!(
                    answer.status == 200 || age < FRESH_FOR,
                    "refused {age:?} later: {answer:?}"
                );
                answer.status == 200
            })
            .await;
        }
    }
    world.at(0).buys(&sale, "bob", "1").await;
    world.sells_exactly(&sale, 4).await;
    world.verify().await;
}

/// Adds one piece of every item, under a new generation.
async fn restock(world: &World) {
    let mut restock = world.pool().begin().await.unwrap();
    for sql in
        ["UPDATE item_stock SET stock = stock + 1", "UPDATE sales SET generation = generation + 1"]
    {
        sqlx::query(sql).execute(&mut *restock).await.unwrap();
    }
    restock.commit().await.unwrap();
}
