//! Many sales at once: what requests ask for is in memory, and what no request asks for costs nothing.

use tokio::time::Instant;

use crate::harness::sales::{self, Many};
use crate::harness::{World, at_once, eventually, until};

/// Open sales: more than a poll reads.
const MANY: i32 = 1_100;
/// Consecutive refusals that must not reach PostgreSQL.
const REFUSALS: usize = 20;
/// Polls of an instance in which nothing else may be read.
const QUIET_POLLS: f64 = 40.0;
/// Clients that poll a sale, and the requests of each.
const POLLERS: usize = 8;
const POLLS: usize = 25;

/// Writes open sales, each with this many unique items, earliest start first. An instance lists all of them. Returns their ids.
async fn open_sales(world: &World, sales: i32, items: i32) -> Vec<String> {
    let many = Many { sales, items, seconds: 3_600.0 };
    let ids = sales::open_sales(world.pool(), many).await;
    let mut listed = Vec::new();
    let mut path = "/v2/sales?limit=100".to_owned();
    while listed.len() < ids.len() {
        let page = world.at(0).get(&path).await.is(200);
        let entries = page.at("/data");
        listed.extend(
            entries.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()),
        );
        path = format!(
            "/v2/sales?limit=100&cursor={}",
            page.at("/next_cursor").as_str().unwrap_or("")
        );
    }
    listed.reverse();
    assert_eq!(ids, listed);
    ids
}

/// Number of statements of these kinds that an instance has run.
async fn statements(world: &World, instance: usize, kinds: &[&str]) -> f64 {
    let metrics = world.metrics(instance).await;
    let count = |kind: &&str| {
        let label = format!("statement=\"{kind}\"");
        metrics.sum("flash_sale_db_query_duration_seconds_count", &[&label])
    };
    kinds.iter().map(count).sum()
}

/// Waits until an instance refuses the first item many times in a row without a read.
async fn refuses_without_a_read(world: &World, instance: usize, sale: &str) {
    const READS: [&str; 4] = ["read", "catalogue", "read_checkouts", "lock_buyers"];
    until(&format!("instance {instance} refuses in {sale} without a read"), async || {
        let before = statements(world, instance, &READS).await;
        for _ in 0..REFUSALS {
            world.at(instance).checkout(sale, "cid", "1").await.refuses(409, "item_sold_out");
        }
        statements(world, instance, &READS).await <= before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_thousand_open_sales_refuses_without_postgresql() {
    let world = World::of(2).await;
    let sales = open_sales(&world, MANY, 2).await;

    for sale in [&sales[0], &sales[500], &sales[1_098], &sales[1_099]] {
        world.at(0).buys(sale, "ann", "1").await;
        for instance in 0..2 {
            refuses_without_a_read(&world, instance, sale).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_instances_read_no_stock_again() {
    let world = World::plan(2)
        .set("redis.filter_interval", "50ms")
        .set("board.poll_interval", "50ms")
        .start()
        .await;
    let sales = open_sales(&world, 30, 20).await;
    world.at(0).buys(&sales[3], "ann", "1").await;

    for instance in 0..2 {
        until("an instance reads no items and no stock while it polls", async || {
            let before = statements(&world, instance, &["read", "catalogue"]).await;
            let polls = statements(&world, instance, &["live_sales"]).await;
            until("it polls", async || {
                statements(&world, instance, &["live_sales"]).await >= polls + QUIET_POLLS
            })
            .await;
            statements(&world, instance, &["read", "catalogue"]).await <= before
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_ready_before_it_has_the_items_of_all_sales() {
    let mut world = World::of(1).await;
    let sales = open_sales(&world, 30, 100).await;

    world.start(1).await;
    let at_the_start = world.metrics(1).await;
    let refused = world.at(1).checkout(&sales[7], "ann", "101").await;
    world.at(1).buys(&sales[7], "ann", "100").await;

    refused.refuses(404, "item_not_found");
    assert!(at_the_start.sum("flash_sale_cached_catalogues", &[]) < 1.0);
    until("it knows the sales", async || {
        world.metrics(1).await.sum("flash_sale_cached_sales", &[]) >= 30.0
    })
    .await;
    let then = world.metrics(1).await;
    assert!((1.0..2.0).contains(&then.sum("flash_sale_cached_catalogues", &[])));
    assert!(then.sum("flash_sale_cached_item_bytes", &[]) > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_items_of_the_scheduled_sale_are_there_when_an_instance_is_ready() {
    let world = World::plan(1).set("schedule.enabled", "true").start().await;

    let metrics = world.metrics(0).await;

    assert!(metrics.sum("flash_sale_cached_catalogues", &[]) >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_memory_for_items_is_short_every_sale_is_served() {
    let world = World::plan(1).set("board.item_bytes", "5000").start().await;
    let sales = open_sales(&world, 12, 100).await;

    for round in 1..=3 {
        for sale in &sales {
            world.at(0).buys(sale, &format!("buyer-{round}"), &round.to_string()).await;
            world.at(0).checkout(sale, "cid", "101").await.refuses(404, "item_not_found");
            world.at(0).checkout(sale, "cid", "1").await.refuses(409, "item_sold_out");
        }
    }

    let bytes = world.metrics(0).await.sum("flash_sale_cached_item_bytes", &[]);
    assert!(bytes > 0.0 && bytes <= 5_000.0, "{bytes}");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn front_ends_that_poll_share_what_is_read() {
    let world = World::of(1).await;
    let sales = open_sales(&world, 5, 100).await;
    eventually("the sales are active", async || {
        let active = world.at(0).get("/sales/active").await.is(200).at("/data");
        (active.as_array()?.len() == 5).then_some(())
    })
    .await;
    let began = Instant::now();
    let before = statements(&world, 0, &["read", "live_sales"]).await;

    for path in [format!("/sales/{}", sales[2]), "/v2/sales/active".to_owned()] {
        let clients = (0..POLLERS).map(|_| (world.at(0).clone(), path.clone()));
        at_once(clients.map(|(client, path)| async move {
            for _ in 0..POLLS {
                client.get(&path).await.is(200);
            }
        }))
        .await;
    }

    let read = statements(&world, 0, &["read", "live_sales"]).await - before;
    // Each quarter of a second: a sum, and a reading of a sale or the two statements of a poll; the polls of the instance itself.
    let quarters = f64::from(u32::try_from(began.elapsed().as_millis() / 250).unwrap()) + 2.0;
    assert!(read <= 4.0 * quarters, "{read} reads in {quarters} quarters of a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_sees_the_purchase_in_the_sales_progress_at_once() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 20").await;

    for item in 1..=10 {
        world.at(0).get(&format!("/sales/{sale}")).await.is(200);
        world.at(0).buys(&sale, &format!("buyer-{item}"), &item.to_string()).await;
        for path in [format!("/sales/{sale}"), format!("/v1/sales/{sale}")] {
            assert_eq!(world.at(0).get(&path).await.is(200).at("/sold"), item);
        }
        let active = world.at(0).get("/sales/active").await.is(200);
        assert_eq!(active.at("/data/0/remaining"), 20 - item);
    }
}
