//! The service on a Redis Cluster of three masters: everything that it does there, while a master dies and while slots move.

use std::collections::BTreeSet;

use redis::cluster_routing::Slot;
use serde_json::Value;

use crate::harness::redis_nodes::{RedisCluster, RedisNode, documented_rules};
use crate::harness::storm::Receipt;
use crate::harness::world::Plan;
use crate::harness::{Storm, World, until};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// Keys that one MIGRATE moves, and how long it may take.
const KEYS_A_MOVE: usize = 1_000;

fn plan(cluster: &RedisCluster, instances: usize) -> Plan {
    World::plan(instances)
        .set("redis.mode", "cluster")
        .set("redis.nodes", &cluster.nodes())
        .set("redis.filter_interval", "500ms")
}

async fn redis_health(world: &World, instance: usize) -> Value {
    let health = world.instances[instance].monitor.get("/healthz").await.is(200).json();
    health["checks"]["redis"].clone()
}

async fn redis_is_up(world: &World) {
    for instance in 0..world.instances.len() {
        until("redis is up", async || redis_health(world, instance).await["status"] == "up").await;
    }
}

fn circuit_opened(world: &World) -> bool {
    world
        .instances
        .iter()
        .any(|instance| instance.process.stderr.text().contains("the circuit is open"))
}

/// Keys on a node that contain this text.
async fn keys(node: &RedisNode, part: &str) -> Vec<String> {
    let keys: Vec<String> = node.run("KEYS *").await;
    keys.into_iter().filter(|key| key.contains(part)).collect()
}

fn slot_of(sale: &str) -> u16 {
    let number: u64 = sale.trim_start_matches("S-").parse().unwrap();
    let tag = Slot::for_key(format!("{{sale:{number}}}"));
    (0..SLOTS).find(|slot| Slot::new(*slot) == Some(tag)).unwrap()
}

fn sold(receipts: &[Receipt]) -> usize {
    receipts.iter().filter(|receipt| receipt.answer.status == 200).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_locks_hints_news_and_events_are_spread_over_the_masters() {
    let cluster = RedisCluster::start(false).await;
    let world = plan(&cluster, 2)
        .set("jobs.enabled", "true")
        .set("events.stream.enabled", "true")
        .start()
        .await;
    redis_is_up(&world).await;
    assert_eq!(redis_health(&world, 0).await["mode"], "cluster");
    let mut sales = Vec::new();
    // Until each master has a sale.
    let mut masters = BTreeSet::new();
    while masters.len() < cluster.masters.len() {
        let sale = world.create_sale("--items 20").await;
        masters.insert(cluster.master_of(slot_of(&sale)).await);
        sales.push(sale);
    }

    let storms: Vec<Storm> =
        sales.iter().map(|sale| Storm::over(&world.clients(), sale, 20)).collect();
    for storm in storms {
        assert_eq!(sold(&storm.receipts().await), 20);
    }

    for (sale, instance) in sales.iter().zip([0, 1].iter().cycle()) {
        until("the instance has heard that nothing is left", async || {
            let late = world.at(*instance).checkout(sale, "late", "1").await;
            late.status_and_code() == (409, "sale_sold_out".to_owned())
        })
        .await;
        let master = &cluster.masters[cluster.master_of(slot_of(sale)).await];
        let tag = format!("{{sale:{}}}", sale.trim_start_matches("S-"));
        until("the filter is on the master of its slot", async || {
            keys(master, &tag).await.iter().any(|key| key.ends_with(":filter"))
        })
        .await;
    }
    let events = format!("{}events", world.key_prefix);
    until("every purchase is in the stream", async || {
        let mut length = 0_usize;
        for master in &cluster.masters {
            if keys(master, &events).await.contains(&events) {
                length = master.run(&format!("XLEN {events}")).await;
            }
        }
        length >= 20 * sales.len()
    })
    .await;
    let heard = async |instance| {
        let metrics = world.metrics(instance).await;
        metrics.sum("flash_sale_sold_out_hints_total", &["result=\"confirmed\""])
    };
    until("both instances hear of sold-out items", async || {
        heard(0).await > 0.0 && heard(1).await > 0.0
    })
    .await;
    world.verify().await;
    redis_is_up(&world).await;
    assert!(!circuit_opened(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_pages_and_limits_live_on_every_master_and_an_operator_reaches_all_pages() {
    let cluster = RedisCluster::start(false).await;
    let world = plan(&cluster, 2)
        .set("cache.enabled", "true")
        .set("cache.items_ttl", "1h")
        .set("limits.buyer", "1/h burst 3")
        .start()
        .await;
    redis_is_up(&world).await;
    let page = async |instance: usize, sale: &str| {
        let page = format!("/v2/sales/{sale}/items?limit=5");
        world.at(instance).get(&page).await.is(200).at("/data/0/pieces/remaining").as_i64().unwrap()
    };
    let mut sales = Vec::new();
    let mut masters = BTreeSet::new();
    while masters.len() < cluster.masters.len() {
        let sale = world.create_sale("--items 3 --stock 9").await;
        masters.insert(cluster.master_of(slot_of(&sale)).await);
        assert_eq!(page(0, &sale).await, 9);
        sales.push(sale);
    }

    let sell = "UPDATE item_stock SET sold = sold + 1 WHERE item_no = 1";
    sqlx::raw_sql(sell).execute(world.pool()).await.unwrap();
    for sale in &sales {
        assert_eq!(page(1, sale).await, 9, "Redis has the page of the other instance");
    }
    let dropped = world.printed(&["cache", "invalidate", "--pattern", "items:*"]).await;
    assert_eq!(dropped["invalidated"].as_u64().unwrap(), sales.len() as u64);
    for sale in &sales {
        assert_eq!((page(0, sale).await, page(1, sale).await), (8, 8));
    }

    // Over both instances, and whatever master counts it.
    for buyer in ["ann", "bob", "cat", "dan", "eve", "fay"] {
        let mut accepted = 0;
        for request in 0..6 {
            let asked = world.at(request % 2).checkout(&sales[0], buyer, "1").await;
            accepted += usize::from(asked.status == 200);
        }
        assert_eq!(accepted, 3, "{buyer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_in_mid_sale_costs_no_purchase_and_its_replica_is_used() {
    let cluster = RedisCluster::start(true).await;
    let world = plan(&cluster, 3).start().await;
    redis_is_up(&world).await;
    let sale = world.create_sale("--items 400").await;
    let victim = cluster.master_of(slot_of(&sale)).await;

    let storm = Storm::over(&world.clients(), &sale, 400);
    storm.has_sold(60).await;
    cluster.masters[victim].kill();
    let receipts = storm.receipts().await;

    assert_eq!(sold(&receipts), 400);
    until("the replica has become a master", async || {
        cluster.replicas[victim].run::<String>("INFO replication").await.contains("role:master")
    })
    .await;
    redis_is_up(&world).await;
    until("the filter is rebuilt there", async || {
        let tag = format!("{{sale:{}}}:filter", sale.trim_start_matches("S-"));
        !keys(&cluster.replicas[victim], &tag).await.is_empty()
    })
    .await;
    world.verify().await;
}

/// Moves a slot with its keys, as `redis-cli --cluster reshard` does it.
async fn move_slot(slot: u16, from: &RedisNode, to: &RedisNode, others: &[&RedisNode]) {
    let (source, target): (String, String) =
        (from.run("CLUSTER MYID").await, to.run("CLUSTER MYID").await);
    to.run::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}")).await;
    from.run::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}")).await;
    loop {
        let keys: Vec<String> =
            from.run(&format!("CLUSTER GETKEYSINSLOT {slot} {KEYS_A_MOVE}")).await;
        if keys.is_empty() {
            break;
        }
        // One key at a time, so that buyers find the slot half moved.
        for key in keys {
            let migrate = format!("MIGRATE 127.0.0.1 {} {key} 0 5000 REPLACE", to.port);
            from.run::<redis::Value>(&migrate).await;
        }
    }
    for node in [to, from].into_iter().chain(others.iter().copied()) {
        node.run::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_back_and_forth_in_mid_sale_costs_no_purchase() {
    let cluster = RedisCluster::start(false).await;
    let world = plan(&cluster, 2).start().await;
    redis_is_up(&world).await;
    let sale = world.create_sale("--items 400").await;
    let slot = slot_of(&sale);
    let owner = cluster.master_of(slot).await;
    let [from, to, third] = [0, 1, 2].map(|step| &cluster.masters[(owner + step) % 3]);

    let storm = Storm::over(&world.clients(), &sale, 400);
    for sold in [40, 80, 120] {
        storm.has_sold(sold).await;
        move_slot(slot, from, to, &[third]).await;
        move_slot(slot, to, from, &[third]).await;
    }
    move_slot(slot, from, to, &[third]).await;
    let receipts = storm.receipts().await;

    assert_eq!(sold(&receipts), 400);
    redis_is_up(&world).await;
    let tag = format!("{{sale:{}}}", sale.trim_start_matches("S-"));
    until("the sale's keys are written on the other master", async || {
        keys(to, &tag).await.iter().any(|key| key.ends_with(":filter"))
    })
    .await;
    world.verify().await;
}

const DOCUMENT: &str = include_str!("../../docs/redis-modes.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough_in_a_cluster() {
    let cluster = RedisCluster::start(false).await;
    let mut world = plan(&cluster, 0).start().await;
    let rules =
        documented_rules(DOCUMENT, "redis-cli -c ACL SETUSER flash-sale ", &world.key_prefix);
    for master in &cluster.masters {
        master.run::<()>(&format!("ACL SETUSER flash-sale {}", rules.join(" "))).await;
        master.run::<()>("ACL LOG RESET").await;
    }
    let url = "redis://flash-sale:secret@ignored:1";
    world.program = world.program.clone().variable("REDIS_URL", url);
    world.start(2).await;
    let sale = world.create_sale("--items 40").await;
    let slot = slot_of(&sale);
    let owner = cluster.master_of(slot).await;
    let [from, to, third] = [0, 1, 2].map(|step| &cluster.masters[(owner + step) % 3]);

    let storm = Storm::over(&world.clients(), &sale, 40);
    storm.has_sold(10).await;
    move_slot(slot, from, to, &[third]).await;
    assert_eq!(sold(&storm.receipts().await), 40);
    world.verify().await;

    redis_is_up(&world).await;
    for master in &cluster.masters {
        let denied: Vec<redis::Value> = master.run("ACL LOG").await;
        assert!(denied.is_empty(), "{denied:#?}");
    }
}
