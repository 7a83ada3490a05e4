//! A PostgreSQL that is gone without a word costs bounded time, and nothing else.

use crate::harness::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fall_silent_are_given_up_and_the_sale_goes_on() {
    let mut world =
        World::plan(1).through_a_proxy().set("database.statement_timeout", "500ms").start().await;
    let sale = world.create_sale("--items 20").await;
    for buyer in 1..=5 {
        world.at(0).buys(&sale, &format!("early-{buyer}"), &buyer.to_string()).await;
    }

    world.proxy.as_ref().unwrap().silence();

    until("checkouts are served again", async || {
        world.at(0).checkout(&sale, "patient", "6").await.status == 200
    })
    .await;
    for buyer in 7..=12 {
        world.at(0).buys(&sale, &format!("late-{buyer}"), &buyer.to_string()).await;
    }
    world.every_piece_is_sold_or_buyable(&sale, 20).await;
    world.verify().await;
    world.stop().await;
}
