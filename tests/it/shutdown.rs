//! `SIGTERM`: accepted requests are finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use reqwest::Method;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::client::{checkout_path, purchase_path};
use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{Client, PATIENCE, Wire, World, until, wire};

/// What one buyer of the load received.
#[derive(Debug, Default)]
struct Seen {
    /// Codes whose purchase got 200.
    bought: Vec<String>,
    /// When the requests without a complete response were sent.
    unanswered: Vec<Instant>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_no_accepted_request() {
    let mut world = World::plan(1).set("shutdown.grace", "4s").start().await;
    let sale = world.create_sale("--items 5000").await;
    let mut instance = world.instances.remove(0);
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for buyer in 0..4 {
        load.spawn(buy_until(Arc::clone(&stop), instance.client.clone(), sale.clone(), buyer));
    }
    let sold = format!("/sales/{sale}");
    until("the load sells", async || {
        instance.client.get(&sold).await.at("/sold").as_u64() > Some(20)
    })
    .await;

    instance.process.signal(Signal::SIGTERM);
    instance.readiness_is(503).await;
    let in_grace = instance.client.checkout(&sale, "late", "5000").await.is(200);
    assert_eq!(in_grace.header("connection"), Some("close"));
    // Connections are accepted in their order: those that came before one that was served were accepted too.
    let mut last_served = Instant::now();
    loop {
        let sent = Instant::now();
        let Some(in_grace) = instance.client.attempt(Method::GET, &sold, PATIENCE).await else {
            break;
        };
        assert_eq!(in_grace.is(200).header("connection"), Some("close"));
        last_served = sent;
    }

    let code = instance.process.exit().await;
    stop.store(true, Ordering::Relaxed);
    let seen = load.join_all().await;

    assert_eq!(code, Some(0));
    for unanswered in seen.iter().flat_map(|seen| &seen.unanswered) {
        let before = last_served.saturating_duration_since(*unanswered);
        assert!(before.is_zero(), "a request was lost {before:?} before one that was served");
    }
    world.start(1).await;
    let bought: Vec<_> = seen.into_iter().flat_map(|seen| seen.bought).collect();
    for code in &bought {
        world.at(0).get(&format!("/purchases/{code}")).await.is(200);
    }
    assert!(bought.len() > 20);
    world.every_piece_is_sold_or_buyable(&sale, 5_000).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_waits_is_answered_after_the_doors_are_closed() {
    let mut world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let hold = hold_buyer(world.pool(), "ann").await;
    let mut instance = world.instances.remove(0);
    let (client, path) = (instance.client.clone(), purchase_path(&code));
    let mut purchase = JoinSet::from_iter([async move { client.post(&path).await }]);
    waiting(world.pool(), 1).await;

    instance.process.signal(Signal::SIGTERM);
    until("the port is closed", async || {
        TcpStream::connect(instance.client.address).await.is_err()
    })
    .await;
    hold.rollback().await.unwrap();

    let answer = purchase.join_next().await.unwrap().unwrap().is(200);
    assert_eq!(answer.at("/total_purchased"), 1);
    assert_eq!(instance.process.exit().await, Some(0));
    world.start(1).await;
    world.at(0).get(&format!("/purchases/{code}")).await.is(200);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_the_queue_when_the_port_closes_are_answered() {
    let mut world = World::plan(1).set("batch.purchase_size", "8").start().await;
    let sale = world.create_sale("--items 100").await;
    let mut codes = vec![world.at(0).collects(&sale, "ann", "1").await];
    for item in 2..=50 {
        codes.push(world.at(0).collects(&sale, &format!("user-{item}"), &item.to_string()).await);
    }
    let hold = hold_buyer(world.pool(), "ann").await;
    let purchase = |code: &String| {
        let (client, path) = (world.at(0).clone(), purchase_path(code));
        async move { client.post(&path).await }
    };
    let mut purchases = JoinSet::from_iter([purchase(&codes[0])]);
    waiting(world.pool(), 1).await;
    for code in &codes[1..] {
        purchases.spawn(purchase(code));
    }
    until("the others are in the queue", async || {
        let depth = world.metrics(0).await.sum("flash_sale_queue_depth", &["queue=\"purchase\""]);
        depth >= f64::from(u32::try_from(codes.len()).unwrap()) - 1.0
    })
    .await;
    let mut instance = world.instances.remove(0);

    instance.process.signal(Signal::SIGTERM);
    until("the port is closed", async || {
        TcpStream::connect(instance.client.address).await.is_err()
    })
    .await;
    hold.rollback().await.unwrap();

    for answer in purchases.join_all().await {
        assert_eq!(answer.is(200).at("/total_purchased"), 1);
    }
    assert_eq!(instance.process.exit().await, Some(0));
    world.start(1).await;
    world.sells_exactly(&sale, codes.len()).await;
    world.every_piece_is_sold_or_buyable(&sale, 100).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_is_being_written_keeps_no_instance_from_stopping() {
    let mut world = World::plan(1)
        .set("schedule.enabled", "true")
        .set("schedule.cron", "*/2 * * * * *")
        .set("schedule.duration", "2s")
        .set("schedule.items", "5")
        .set("schedule.interval", "200ms")
        .set("shutdown.drain", "20s")
        .start()
        .await;
    let sale = world.create_sale("--items 5").await;
    // The next scheduled sale is written up to its last row, for which it waits longer than the drain may take.
    let mut hold = world.pool().begin().await.unwrap();
    let lock = "LOCK TABLE sale_audit IN EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut *hold).await.unwrap();
    waiting(world.pool(), 1).await;
    for _ in 0..20 {
        world.at(0).checkout(&sale, "ann", "unknown").await.refuses(404, "item_not_found");
    }
    let mut instance = world.instances.remove(0);

    instance.process.signal(Signal::SIGTERM);

    assert_eq!(instance.process.exit().await, Some(0));
    assert_eq!(refusals_on_record(&world).await, 20);
    until("the server has ended its transaction", async || {
        let sessions = "SELECT count(*) FROM pg_stat_activity \
                        WHERE datname = current_database() AND application_name = 'flash-sale'";
        sqlx::query_scalar::<_, i64>(sessions).fetch_one(world.pool()).await.unwrap() == 0
    })
    .await;
    hold.rollback().await.unwrap();
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_outlasts_the_drain_takes_no_time_from_the_last_refusals() {
    let mut world =
        World::plan(1).set("shutdown.grace", "0s").set("shutdown.drain", "16s").start().await;
    let sale = world.create_sale("--items 5").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let hold = hold_buyer(world.pool(), "ann").await;
    let (client, path) = (world.at(0).clone(), purchase_path(&code));
    let purchase =
        JoinSet::from_iter([async move { client.attempt(Method::POST, &path, PATIENCE).await }]);
    waiting(world.pool(), 1).await;
    // No flush can be written before the time for accepted requests is over.
    let mut hold_totals = world.pool().begin().await.unwrap();
    let lock = "LOCK TABLE refusal_totals IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut *hold_totals).await.unwrap();
    for _ in 0..20 {
        world.at(0).checkout(&sale, "bob", "unknown").await.refuses(404, "item_not_found");
    }
    let mut instance = world.instances.remove(0);

    instance.process.signal(Signal::SIGTERM);
    until("it gives the request up", async || {
        assert!(!instance.process.has_ended(), "it ended before it wrote its refusals");
        let log = instance.process.stderr.text();
        log.contains("accepted requests are not finished: writing the last refusals")
    })
    .await;
    hold_totals.rollback().await.unwrap();

    assert_eq!(instance.process.exit().await, Some(1));
    assert_eq!(refusals_on_record(&world).await, 20);
    purchase.join_all().await;
    hold.rollback().await.unwrap();
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let mut world =
        World::plan(1).set("shutdown.grace", "30m").set("shutdown.drain", "30m").start().await;
    let mut instance = world.instances.remove(0);

    instance.process.signal(Signal::SIGTERM);
    instance.readiness_is(503).await;
    instance.process.signal(Signal::SIGTERM);

    // The grace period is longer than this waits.
    instance.process.exit().await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_is_a_stop_like_any_other() {
    let mut world = World::of(1).await;
    let mut instance = world.instances.remove(0);

    instance.process.signal(Signal::SIGINT);

    assert_eq!(instance.process.exit().await, Some(0));
}

async fn refusals_on_record(world: &World) -> i64 {
    let total = "SELECT coalesce(sum(total), 0)::bigint FROM refusal_totals";
    sqlx::query_scalar(total).fetch_one(world.pool()).await.unwrap()
}

/// Makes checkouts and purchases, each on a connection of its own, until `stop` is set.
async fn buy_until(stop: Arc<AtomicBool>, client: Client, sale: String, buyer: usize) -> Seen {
    let mut seen = Seen::default();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let item = (round * 4 + buyer) % 4_999 + 1;
        let wish = checkout_path(&sale, &format!("buyer-{buyer}-{round}"), &item.to_string());
        let Some(checkout) = ask(&client, &wish, &mut seen).await else {
            continue;
        };
        if checkout.status != Some(200) {
            continue;
        }
        let code = checkout.json()["code"].as_str().unwrap().to_owned();
        let Some(purchase) = ask(&client, &purchase_path(&code), &mut seen).await else {
            continue;
        };
        if purchase.status == Some(200) {
            seen.bought.push(code);
        }
    }
    seen
}

/// Sends one request. `None` if the port is closed, or if there is no complete response, which is recorded.
async fn ask(client: &Client, path: &str, seen: &mut Seen) -> Option<wire::Received> {
    let mut wire = Wire::connect(client.address).await?;
    let is_sent = wire.send(&wire::request("POST", path)).await;
    let sent = Instant::now();
    let received = if is_sent { wire.receive().await } else { wire::Received::default() };
    if received.is_complete() {
        return Some(received);
    }
    assert_eq!(received.status, None, "a truncated response: {}", received.head);
    seen.unanswered.push(sent);
    None
}
