//! The service on the master that Redis Sentinel names: a failover in mid-sale, and Sentinels that are wrong.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::harness::redis_nodes::{RedisNode, SENTINEL_PASSWORD, Watched, documented_rules};
use crate::harness::world::Plan;
use crate::harness::{Storm, World, until};

const RIGHTS: &str = include_str!("../../docs/operations.md");

fn plan(nodes: &str, instances: usize) -> Plan {
    World::plan(instances)
        .set("redis.mode", "sentinel")
        .set("redis.nodes", nodes)
        .set("redis.sentinel.master_name", "shop")
        .set("redis.filter_interval", "500ms")
}

async fn redis_health(world: &World, instance: usize) -> Value {
    let health = world.instances[instance].monitor.get("/healthz").await.is(200).json();
    health["checks"]["redis"].clone()
}

/// Waits until all instances use this master.
async fn all_use(world: &World, master: &RedisNode) {
    for instance in 0..world.instances.len() {
        until("the instance uses the master", async || {
            let redis = redis_health(world, instance).await;
            redis["status"] == "up" && redis["master"] == master.address()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_in_mid_sale_costs_no_purchase_and_the_new_master_is_used() {
    let watched = Watched::start().await;
    let world =
        plan(&watched.nodes(), 3).set("redis.sentinel.password", SENTINEL_PASSWORD).start().await;
    all_use(&world, &watched.master).await;
    assert_eq!(redis_health(&world, 0).await["mode"], "sentinel");
    let sale = world.create_sale("--items 400").await;

    let storm = Storm::over(&world.clients(), &sale, 400);
    storm.has_sold(60).await;
    watched.master.kill();
    let receipts = storm.receipts().await;

    let sold = receipts.iter().filter(|receipt| receipt.answer.status == 200).count();
    assert_eq!(sold, 400);
    all_use(&world, &watched.replica).await;
    until("the filter is rebuilt there", async || {
        let keys: Vec<String> = watched.replica.run("KEYS *").await;
        keys.iter().any(|key| key.ends_with(":filter"))
    })
    .await;
    let news = format!("{}news", world.key_prefix);
    until("all instances subscribe there", async || {
        let (_, subscribers): (String, usize) =
            watched.replica.run(&format!("PUBSUB NUMSUB {news}")).await;
        subscribers == 3
    })
    .await;
    // A command that starts now finds the master by itself.
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough_through_a_failover() {
    const PASSWORD: &str = "secret";
    let watched = Watched::start().await;
    let mut world = plan(&watched.nodes(), 0)
        .set("redis.sentinel.username", "seller")
        .set("redis.sentinel.password", PASSWORD)
        .set("events.stream.enabled", "true")
        .set("jobs.enabled", "true")
        .set("cache.enabled", "true")
        .set("limits.address", "1000000/h")
        .start()
        .await;
    for sentinel in &watched.sentinels {
        let user = format!(
            "ACL SETUSER seller on >{PASSWORD} -@all +ping +sentinel|get-master-addr-by-name"
        );
        watched.run(sentinel, &user).await;
        watched.run(sentinel, "ACL LOG RESET").await;
    }
    let mut rules =
        documented_rules(RIGHTS, "redis-cli ACL SETUSER flash-sale ", &world.key_prefix);
    rules.push("+role".to_owned());
    for server in [&watched.master, &watched.replica] {
        server.run::<()>(&format!("ACL SETUSER flash-sale {}", rules.join(" "))).await;
        server.run::<()>("ACL LOG RESET").await;
    }
    let url = format!("redis://flash-sale:{PASSWORD}@ignored:1");
    world.program = world.program.clone().variable("REDIS_URL", &url);
    world.start(2).await;
    all_use(&world, &watched.master).await;
    let sale = world.create_sale("--items 100").await;

    let storm = Storm::over(&world.clients(), &sale, 100);
    storm.has_sold(20).await;
    watched.master.kill();
    let receipts = storm.receipts().await;

    assert_eq!(receipts.iter().filter(|receipt| receipt.answer.status == 200).count(), 100);
    all_use(&world, &watched.replica).await;
    world.printed(&["cache", "invalidate", "--all"]).await;
    world.verify().await;
    let denied: Vec<redis::Value> = watched.replica.run("ACL LOG").await;
    assert!(denied.is_empty(), "{denied:#?}");
    for sentinel in &watched.sentinels {
        let denied = watched.run(sentinel, "ACL LOG").await;
        assert_eq!(denied, redis::Value::Array(Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_by_hand_is_followed_although_the_old_master_still_answers() {
    let watched = Watched::start().await;
    let world =
        plan(&watched.nodes(), 1).set("redis.sentinel.password", SENTINEL_PASSWORD).start().await;
    all_use(&world, &watched.master).await;

    let url = format!("redis://:{SENTINEL_PASSWORD}@{}", watched.sentinels[0].address());
    let client = redis::Client::open(url).unwrap();
    let mut sentinel = client.get_multiplexed_async_connection().await.unwrap();
    until("the Sentinels switch over", async || {
        let mut failover = redis::cmd("SENTINEL");
        let begun = failover.arg("FAILOVER").arg("shop").query_async::<()>(&mut sentinel).await;
        begun.is_ok()
    })
    .await;

    all_use(&world, &watched.replica).await;
    let sale = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.verify().await;
}

/// A Sentinel that always names the same server, after a while.
async fn sentinel_naming(server: SocketAddr, after: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tasks = TaskTracker::new();
    let answer = resp_of(server);
    tasks.clone().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn(answer_all(stream, answer.clone(), after));
        }
    });
    address
}

fn resp_of(server: SocketAddr) -> String {
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len())
}

async fn answer_all(mut stream: TcpStream, answer: String, after: Duration) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
        tokio::time::sleep(after).await;
        let answer = if text.contains("get-master-addr-by-name") { &answer } else { "+OK\r\n" };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_a_sentinel_names_although_it_is_a_replica_is_not_used() {
    let (master, replica) = Watched::pair().await;
    let at = |node: &RedisNode| node.address().parse().unwrap();
    // The one that is wrong answers first, and neither has a majority.
    let wrong = sentinel_naming(at(&replica), Duration::ZERO).await;
    let right = sentinel_naming(at(&master), Duration::from_millis(100)).await;

    let world = plan(&format!("{wrong},{right}"), 1).start().await;

    all_use(&world, &master).await;
    let only_wrong = plan(&wrong, 1).start().await;
    until("the reason is in the health check", async || {
        let redis = redis_health(&only_wrong, 0).await;
        let message = redis["message"].as_str().unwrap_or_default().to_owned();
        redis["status"] == "degraded" && message.contains("not a master")
    })
    .await;
    let sale = only_wrong.create_sale("--items 5").await;
    only_wrong.at(0).buys(&sale, "ann", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sentinel_that_is_cut_off_is_outvoted() {
    let (old, new) =
        (RedisNode::start("redis-server", &[]).await, RedisNode::start("redis-server", &[]).await);
    let at = |node: &RedisNode| node.address().parse().unwrap();
    let mut nodes = vec![sentinel_naming(at(&old), Duration::ZERO).await];
    for _ in 0..2 {
        nodes.push(sentinel_naming(at(&new), Duration::from_millis(50)).await);
    }

    // Both servers are masters: only the votes tell them apart.
    let world = plan(&nodes.join(","), 1).start().await;

    all_use(&world, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sentinels_the_known_master_is_kept_and_a_new_instance_sells_without_redis() {
    let watched = Watched::start().await;
    let world =
        plan(&watched.nodes(), 1).set("redis.sentinel.password", SENTINEL_PASSWORD).start().await;
    all_use(&world, &watched.master).await;
    watched.sentinels.iter().for_each(RedisNode::kill);

    let mut world = world;
    world.start(1).await;

    until("the new one says why", async || {
        let redis = redis_health(&world, 1).await;
        redis["message"].as_str().is_some_and(|message| message.contains("no Sentinel answers"))
    })
    .await;
    let sale = world.create_sale("--items 5").await;
    world.at(1).buys(&sale, "ann", "1").await;
    let kept = redis_health(&world, 0).await;
    assert_eq!(
        (&kept["status"], &kept["master"]),
        (&"up".into(), &watched.master.address().into())
    );
}
