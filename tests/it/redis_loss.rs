//! Redis is flushed, killed and comes back: speed changes, promises do not.

use std::ops::RangeInclusive;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use crate::harness::storm::assert_on_record;
use crate::harness::trouble::{REDIS_REFUSES, all_keys, put_back, send_to_redis};
use crate::harness::{Client, Storm, World, until};

/// Unique items of a rush: the sale's first ones. Ten for the regular buyer follow, and one that stays unsold.
const ITEMS: usize = 100;
/// A checkout and a purchase together wait for Redis for at most this long: each of their calls for `redis.response_timeout`, and
/// none once the circuit is open.
const MAX_STALL: Duration = Duration::from_secs(4);
/// Beyond that, they take at most this many times as long as with Redis.
const SLOWER: u32 = 10;
/// The buyer who has reached the limit.
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
    assert!(redis_is_up(&world, 1.0).await, "the circuit opened because of a missing script");
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

    redis.run("kill-redis");

    let receipts = storm.receipts().await;
    assert_on_record(world.at(0), &receipts).await;
    until("the metrics show that redis is away", async || redis_is_up(&world, 0.0).await).await;
    for instance in &world.instances {
        instance.ready().await;
        let health = instance.monitor.get("/healthz").await.is(200);
        assert_eq!(health.at("/status"), "degraded", "{}", health.body);
        regular_gets_no_more(&instance.client, &sale).await;
    }
    redis.run("start-redis");
    until("the metrics show that redis is back", async || redis_is_up(&world, 1.0).await).await;
    until("the instance is no longer degraded", async || {
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
async fn while_redis_stalls_every_buyer_is_served_after_a_bounded_wait() {
    let world = World::plan(2)
        .private_redis()
        .set("redis.connect_timeout", "1s")
        .set("redis.response_timeout", "250ms")
        .start()
        .await;
    let sale = world.create_sale("--items 40").await;
    let usual = longest_purchase(&world, &sale, 31..=40).await;

    let stopped = StoppedRedis::of(&mut world.redis().await).await;
    let longest = longest_purchase(&world, &sale, 1..=10).await;
    drop(stopped);

    assert!(longest < MAX_STALL + usual * SLOWER, "{longest:?}, with redis {usual:?}");
    until("its return is noticed", async || redis_is_up(&world, 1.0).await).await;
    world.at(0).checkout(&sale, "late", "1").await.refuses(409, "item_sold_out");
    world.every_piece_is_sold_or_buyable(&sale, 40).await;
    world.verify().await;
}

/// The longest time that the purchase of one of these items takes, from its checkout on.
async fn longest_purchase(world: &World, sale: &str, items: RangeInclusive<usize>) -> Duration {
    let mut longest = Duration::ZERO;
    for item in items {
        let (client, user) = (world.at(item % 2), format!("buyer-{item}"));
        let began = Instant::now();
        client.buys(sale, &user, &item.to_string()).await;
        longest = longest.max(began.elapsed());
    }
    longest
}

/// A Redis that has stopped: its connections stay open, and it answers nothing. It continues when this is dropped.
struct StoppedRedis(Pid);

impl StoppedRedis {
    async fn of(redis: &mut MultiplexedConnection) -> Self {
        let process = field_of_info(redis, "process_id:").await.unwrap();
        let process = Pid::from_raw(process.parse().unwrap());
        kill(process, Signal::SIGSTOP).unwrap();
        Self(process)
    }
}

impl Drop for StoppedRedis {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_starts_without_redis_sells() {
    let mut world = World::plan(0).private_redis().start().await;
    world.redis_server.as_ref().unwrap().run("kill-redis");

    world.start(1).await;

    let sale = world.create_sale("--items 20").await;
    for item in 1..=15 {
        let (user, item) = (format!("buyer-{item}"), item.to_string());
        world.at(0).buys(&sale, &user, &item).await;
        world.at(0).checkout(&sale, "late", &item).await.refuses(409, "item_sold_out");
    }
    world.every_piece_is_sold_or_buyable(&sale, 20).await;
    world.redis_server.as_ref().unwrap().run("start-redis");
    until("redis is noticed", async || redis_is_up(&world, 1.0).await).await;
    world.at(0).checkout(&sale, "late", "1").await.is(409);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_commands_is_not_used_until_it_accepts_them() {
    let world = World::plan(2).private_redis().start().await;
    let sale = world.create_sale("--items 20").await;
    let mut redis = world.redis().await;
    let mut items = 1..=20;

    for (refuse, accept) in REDIS_REFUSES {
        for command in refuse {
            send_to_redis(&mut redis, command).await;
        }
        until("the metrics show that redis refuses", async || redis_is_up(&world, 0.0).await).await;
        for instance in [0, 1, 0, 1] {
            let item = items.next().unwrap().to_string();
            world.at(instance).buys(&sale, &format!("buyer-{item}"), &item).await;
        }
        for command in accept {
            send_to_redis(&mut redis, command).await;
        }
        until("the metrics show that redis accepts", async || redis_is_up(&world, 1.0).await).await;
    }

    world.every_piece_is_sold_or_buyable(&sale, 20).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lacks_the_last_is_found_out_and_made_anew() {
    // The interval is too long for this test: a request that finds the filter cold triggers the rebuild.
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

    server.run("kill-redis");
    server.run("start-redis");
    put_back(&mut world.redis().await, &old).await;

    until("there is a filter of this run", made).await;
    world.at(1).checkout(&sale, "late", "1").await.refuses(409, "item_sold_out");
    world.every_piece_is_sold_or_buyable(&sale, ITEMS + 11).await;
    world.verify().await;
}

/// The run id of the server on which the filter was built.
async fn run_of_filter(redis: &mut MultiplexedConnection) -> Option<String> {
    let keys: Vec<String> = redis.keys("*}:filter").await.ok()?;
    redis.hget(keys.first()?, "run").await.ok()?
}

async fn run_of_server(redis: &mut MultiplexedConnection) -> Option<String> {
    field_of_info(redis, "run_id:").await
}

async fn field_of_info(redis: &mut MultiplexedConnection, name: &str) -> Option<String> {
    let info: String = redis::cmd("INFO").arg("server").query_async(redis).await.ok()?;
    let value = info.lines().find_map(|line| line.strip_prefix(name));
    value.map(|value| value.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_circuit_to_redis_is_forced_open_sells_without_it() {
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

/// Fails the test unless the regular buyer is refused an item that is left.
async fn regular_gets_no_more(client: &Client, sale: &str) {
    let wish = client.checkout(sale, REGULAR, &(ITEMS + 11).to_string()).await;
    wish.refuses(400, "user_limit_exceeded");
}

async fn redis_is_up(world: &World, value: f64) -> bool {
    for instance in 0..world.instances.len() {
        let up = world.metrics(instance).await.sum("flash_sale_redis_up", &[]);
        if (up - value).abs() > f64::EPSILON {
            return false;
        }
    }
    true
}
