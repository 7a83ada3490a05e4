//! Redis is flushed, dies and comes back: speed changes, promises do not.

use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use crate::harness::storm::assert_on_record;
use crate::harness::trouble::{REDIS_REFUSES, all_keys, put_back, tell_redis};
use crate::harness::{Client, Storm, World, until};

/// Unique items of a rush: the sale's first ones. Behind them lie ten for the regular, and one that nobody gets.
const ITEMS: usize = 100;
/// A checkout and a purchase wait for Redis at most this long together, on a busy machine: each of their questions for
/// `redis.response_timeout`, and none at all once the circuit is open.
const LONGEST_STALL: Duration = Duration::from_secs(4);
/// Who has all the pieces that one buyer gets.
const REGULAR: &str = "regular";

#[tokio::test(flavor = "multi_thread")]
async fn after_flushall_in_the_rush_the_limit_holds_and_everything_sells() {
    let world = World::plan(2).private_redis().start().await;
    let sale = world.create_sale(&format!("--items {}", ITEMS + 11)).await;
    regular_buys_ten(world.at(0), &sale).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    let mut redis = world.redis().await;

    for quarter in 1..=3 {
        storm.has_sold(ITEMS / 4 * quarter).await;
        let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
        for client in world.clients() {
            regular_gets_no_more(&client, &sale).await;
        }
    }

    let receipts = storm.receipts().await;
    assert_on_record(world.at(0), &receipts).await;
    world.sells_exactly(&sale, ITEMS + 10).await;
    world.every_piece_is_sold_or_buyable(&sale, ITEMS + 11).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_all_scripts_changes_nothing() {
    let world = World::plan(2).private_redis().start().await;
    let sale = world.create_sale(&format!("--items {ITEMS}")).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    let mut redis = world.redis().await;

    for quarter in 1..=3 {
        storm.has_sold(ITEMS / 4 * quarter).await;
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
    }

    let receipts = storm.receipts().await;
    assert_on_record(world.at(0), &receipts).await;
    world.sells_exactly(&sale, ITEMS).await;
    assert!(redis_is_up(&world, 1.0).await, "the breaker opened over a missing script");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_rush_goes_on_and_its_return_is_noticed() {
    let world = World::plan(2).private_redis().start().await;
    let redis = world.redis_server.as_ref().unwrap();
    let sale = world.create_sale(&format!("--items {}", ITEMS + 11)).await;
    regular_buys_ten(world.at(0), &sale).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    storm.has_sold(ITEMS / 4).await;

    redis.tell("kill-redis");

    let receipts = storm.receipts().await;
    assert_on_record(world.at(0), &receipts).await;
    until("the loss is told", async || redis_is_up(&world, 0.0).await).await;
    for instance in &world.instances {
        instance.ready().await;
        let health = instance.monitor.get("/healthz").await.is(200);
        assert_eq!(health.at("/status"), "degraded", "{}", health.body);
        regular_gets_no_more(&instance.client, &sale).await;
    }
    redis.tell("start-redis");
    until("its return is told", async || redis_is_up(&world, 1.0).await).await;
    until("all is well again", async || {
        let health = world.instances[0].monitor.get("/healthz").await.is(200);
        health.at("/status") != "degraded"
    })
    .await;
    regular_gets_no_more(world.at(1), &sale).await;
    world.sells_exactly(&sale, ITEMS + 10).await;
    world.every_piece_is_sold_or_buyable(&sale, ITEMS + 11).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_stalls_everybody_is_served_after_a_bounded_wait() {
    let world = World::plan(2).private_redis().start().await;
    let sale = world.create_sale("--items 40").await;
    world.at(0).buys(&sale, "early", "40").await;
    let mut redis = world.redis().await;
    let _: () =
        redis::cmd("CLIENT").arg(&["PAUSE", "10000", "ALL"]).query_async(&mut redis).await.unwrap();
    let since = Instant::now();

    let mut waits = Vec::new();
    for item in 1..=10 {
        let (client, user) = (world.at(item % 2), format!("buyer-{item}"));
        let asked = Instant::now();
        client.buys(&sale, &user, &item.to_string()).await;
        waits.push(asked.elapsed());
    }

    let took = since.elapsed();
    assert!(took < Duration::from_secs(10), "the pause was over: {took:?}");
    let longest = waits.iter().max().unwrap();
    assert!(*longest < LONGEST_STALL, "{waits:?}");
    until("its return is noticed", async || redis_is_up(&world, 1.0).await).await;
    world.at(0).checkout(&sale, "late", "1").await.refuses(409, "item_sold_out");
    world.every_piece_is_sold_or_buyable(&sale, 40).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_starts_without_redis_sells() {
    let mut world = World::plan(0).private_redis().start().await;
    world.redis_server.as_ref().unwrap().tell("kill-redis");

    world.start(1).await;

    let sale = world.create_sale("--items 20").await;
    for item in 1..=15 {
        let (user, item) = (format!("buyer-{item}"), item.to_string());
        world.at(0).buys(&sale, &user, &item).await;
        world.at(0).checkout(&sale, "late", &item).await.refuses(409, "item_sold_out");
    }
    world.every_piece_is_sold_or_buyable(&sale, 20).await;
    world.redis_server.as_ref().unwrap().tell("start-redis");
    until("redis is noticed", async || redis_is_up(&world, 1.0).await).await;
    world.at(0).checkout(&sale, "late", "1").await.is(409);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_is_left_alone_until_it_takes_again() {
    let world = World::plan(2).private_redis().start().await;
    let sale = world.create_sale("--items 20").await;
    let mut redis = world.redis().await;
    let mut items = 1..=20;

    for (refuse, take) in REDIS_REFUSES {
        for command in refuse {
            tell_redis(&mut redis, command).await;
        }
        until("its refusals are told", async || redis_is_up(&world, 0.0).await).await;
        for instance in [0, 1, 0, 1] {
            let item = items.next().unwrap().to_string();
            world.at(instance).buys(&sale, &format!("buyer-{item}"), &item).await;
        }
        for command in take {
            tell_redis(&mut redis, command).await;
        }
        until("it takes again", async || redis_is_up(&world, 1.0).await).await;
    }

    world.every_piece_is_sold_or_buyable(&sale, 20).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lacks_the_last_is_found_out_and_made_anew() {
    // Its turn would come too late: whoever finds it cold calls for the rebuild.
    let plan = World::plan(2).private_redis().set("redis.filter_interval", "1h");
    let world = plan.start().await;
    let server = world.redis_server.as_ref().unwrap();
    let sale = world.create_sale(&format!("--items {}", ITEMS + 11)).await;
    regular_buys_ten(world.at(0), &sale).await;
    let made = async || {
        for instance in [0, 1] {
            regular_gets_no_more(world.at(instance), &sale).await;
        }
        let mut redis = world.redis().await;
        let run = run_of_filter(&mut redis).await;
        run.is_some() && run == run_of_server(&mut redis).await
    };
    until("there is a filter", made).await;
    let old = all_keys(&mut world.redis().await).await;
    for item in 1..=ITEMS {
        let (client, item) = (world.at(item % 2), item.to_string());
        client.buys(&sale, &format!("buyer-{item}"), &item).await;
    }

    server.tell("kill-redis");
    server.tell("start-redis");
    put_back(&mut world.redis().await, &old).await;

    until("there is a filter of this run", made).await;
    world.at(1).checkout(&sale, "late", "1").await.refuses(409, "item_sold_out");
    world.every_piece_is_sold_or_buyable(&sale, ITEMS + 11).await;
    world.verify().await;
}

/// The run of the server that the filter was made on.
async fn run_of_filter(redis: &mut MultiplexedConnection) -> Option<String> {
    let keys: Vec<String> = redis.keys("*}:filter").await.ok()?;
    redis.hget(keys.first()?, "run").await.ok()?
}

async fn run_of_server(redis: &mut MultiplexedConnection) -> Option<String> {
    let info: String = redis::cmd("INFO").arg("server").query_async(redis).await.ok()?;
    let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    run.map(|run| run.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_to_leave_redis_alone_sells_without_it() {
    let world = World::plan(1).private_redis().set("redis.circuit.mode", "open").start().await;
    let sale = world.create_sale("--items 3").await;

    world.at(0).buys(&sale, "ann", "1").await;

    world.at(0).checkout(&sale, "bob", "1").await.refuses(409, "item_sold_out");
    let health = world.instances[0].monitor.get("/healthz").await.is(200);
    assert_eq!(health.at("/status"), "degraded", "{}", health.body);
    let mut redis = world.redis().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    assert!(keys.iter().all(|key| key.ends_with("probe")), "{keys:?}");
    world.verify().await;
}

async fn regular_buys_ten(client: &Client, sale: &str) {
    for item in ITEMS + 1..=ITEMS + 10 {
        client.buys(sale, REGULAR, &item.to_string()).await;
    }
}

/// Passes if the regular is told that it is enough, of an item that is still there.
async fn regular_gets_no_more(client: &Client, sale: &str) {
    let wish = client.checkout(sale, REGULAR, &(ITEMS + 11).to_string()).await;
    wish.refuses(400, "user_limit_exceeded");
}

async fn redis_is_up(world: &World, value: f64) -> bool {
    for instance in 0..world.instances.len() {
        let told = world.metrics(instance).await.sum("flash_sale_redis_up", &[]);
        if (told - value).abs() > f64::EPSILON {
            return false;
        }
    }
    true
}
