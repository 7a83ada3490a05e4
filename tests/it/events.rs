//! Events tell of every purchase, in the stream and in NATS, while instances and sinks die.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt;
use nix::sys::signal::Signal;
use redis::AsyncCommands;
use redis::streams::{StreamMaxlen, StreamReadOptions, StreamReadReply};
use serde_json::Value;
use uuid::Uuid;

use crate::harness::commands::libraries;
use crate::harness::endpoint::Endpoint;
use crate::harness::nats_proxy::NatsProxy;
use crate::harness::process::Process;
use crate::harness::servers::PrivateServers;
use crate::harness::storm::{Receipt, Storm};
use crate::harness::world::Plan;
use crate::harness::{World, eventually, until};

/// Items of a rush: as many purchases, at least.
const ITEMS: usize = 200;

/// Instances that also deliver.
fn plan(instances: usize) -> Plan {
    World::plan(instances).set("jobs.enabled", "true")
}

/// All entries of the stream, read by a consumer group and acknowledged.
async fn streamed(world: &World, group: &str) -> Vec<Value> {
    let (mut redis, stream) = (world.redis().await, format!("{}events", world.key_prefix));
    let _: Result<(), _> = redis.xgroup_create_mkstream(&stream, group, "0").await;
    let options = StreamReadOptions::default().group(group, "one").count(100_000);
    let read: Option<StreamReadReply> =
        redis.xread_options(&[&stream], &[">"], &options).await.unwrap();
    let entries = read.into_iter().flat_map(|read| read.keys).flat_map(|key| key.ids);
    let mut events = Vec::new();
    for entry in entries {
        let event: String = entry.get("event").unwrap();
        events.push(serde_json::from_str(&event).unwrap());
        let _: i64 = redis.xack(&stream, group, &[&entry.id]).await.unwrap();
    }
    events
}

/// What is stored in the stream of JetStream; nothing before the first delivery has made it.
async fn stored(client: &async_nats::Client) -> Vec<Value> {
    let context = jetstream::new(client.clone());
    let Ok(mut stream) = context.get_stream("FLASH_SALE").await else { return Vec::new() };
    let messages = stream.info().await.unwrap().state.messages;
    let consumer = jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(consumer).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(usize::try_from(messages).unwrap());
    let events = messages.map(|message| {
        let message = message.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        let id = message.headers.as_ref().unwrap().get("Nats-Msg-Id").unwrap().as_str();
        assert_eq!(
            (event["id"].as_str(), event["type"].as_str()),
            (Some(id), Some(&*message.subject))
        );
        event
    });
    events.collect().await
}

/// The purchases that were told of, by code.
fn purchases(events: &[Value]) -> BTreeMap<&str, &Value> {
    let is_purchase = |event: &&Value| event["type"] == "flash_sale.purchase.settled.v1";
    let purchases = events.iter().filter(is_purchase);
    purchases.map(|event| (event["subject"].as_str().unwrap(), &event["data"])).collect()
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let kind = format!("flash_sale.{kind}.v1");
    events.iter().filter(|event| event["type"] == kind.as_str()).collect()
}

fn ids(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

async fn purchases_on_record(world: &World) -> usize {
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM purchases");
    usize::try_from(count.fetch_one(world.pool()).await.unwrap()).unwrap()
}

/// Fails the test unless there is one event, by its id, for every purchase on record, with what version 2 answers for it.
async fn assert_complete(world: &World, events: &[Value], receipts: &[Receipt]) {
    let told = purchases(events);
    assert_eq!(told.len(), purchases_on_record(world).await);
    let distinct: BTreeSet<&str> =
        of_type(events, "purchase.settled").iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(distinct.len(), told.len(), "one id for each purchase");
    for receipt in receipts {
        let path = format!("/v2/purchases/{}", receipt.code);
        assert_eq!(*told[receipt.code.as_str()], world.at(0).get(&path).await.is(200).json());
    }
    // Of each buyer in the order of the purchases.
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for event in of_type(events, "purchase.settled") {
        // A repeated delivery is no new event.
        if seen.insert(event["id"].as_str().unwrap()) {
            let (buyer, time) = (&event["data"]["buyer_id"], event["time"].as_str().unwrap());
            let before = last.insert(buyer.as_str().unwrap(), time);
            assert!(before.is_none_or(|before| instant(before) <= instant(time)), "{event}");
        }
    }
}

fn instant(time: &str) -> chrono::DateTime<chrono::FixedOffset> {
    chrono::DateTime::parse_from_rfc3339(time).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_tells_of_every_purchase_while_the_delivering_instances_are_killed() {
    let plan = plan(3).set("events.stream.enabled", "true");
    let mut world = plan.start().await;
    let sale = world.create_sale(&format!("--items {ITEMS} --stock 1 --buyer-limit 100")).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    for part in [1, 2] {
        storm.has_sold(part * ITEMS / 4).await;
        // Those that delivered before are gone.
        let killed = eventually("an instance delivers", async || {
            for instance in 0..world.instances.len() {
                let (count, sink) = ("flash_sale_event_delivery_seconds_count", r#"sink="stream""#);
                if world.metrics(instance).await.sum(count, &[sink]) > 0.5 {
                    return Some(instance);
                }
            }
            None
        })
        .await;
        world.instances[killed].process.signal(Signal::SIGKILL);
        world.instances.remove(killed);
    }
    let receipts = storm.receipts().await;

    let mut events = Vec::new();
    // What buys nothing is settled after the last piece too.
    let on_record = purchases_on_record(&world).await;
    until("the end of the sale and all purchases are told", async || {
        events.extend(streamed(&world, "orders").await);
        !of_type(&events, "sale.sold_out").is_empty() && purchases(&events).len() >= on_record
    })
    .await;

    assert_complete(&world, &events, &receipts).await;
    let sold_out: BTreeSet<&str> = of_type(&events, "item.sold_out")
        .iter()
        .map(|event| event["data"]["item"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(sold_out.len(), ITEMS);
    assert_eq!(of_type(&events, "sale.opened")[0]["data"]["id"], sale.as_str());
    let count: i64 =
        sqlx::query_scalar("SELECT last FROM outbox_order").fetch_one(world.pool()).await.unwrap();
    assert_eq!(ids(&events).len(), usize::try_from(count).unwrap());
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_has_every_event_once_although_the_server_is_killed() {
    let Some((server, url)) = PrivateServers::nats() else {
        eprintln!("NATS is not installed: nothing is published to it");
        return;
    };
    let world = plan(2).set("events.nats.url", &url).start().await;
    let sale = world.create_sale(&format!("--items {ITEMS} --stock 1 --buyer-limit 100")).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    storm.has_sold(ITEMS / 4).await;
    server.run("kill-nats");
    storm.has_sold(ITEMS / 2).await;
    server.run("start-nats");
    let receipts = storm.receipts().await;

    let client = async_nats::connect(&url).await.unwrap();
    let mut events = Vec::new();
    let on_record = purchases_on_record(&world).await;
    until("the end of the sale and all purchases are told", async || {
        events = stored(&client).await;
        !of_type(&events, "sale.sold_out").is_empty() && purchases(&events).len() >= on_record
    })
    .await;

    assert_complete(&world, &events, &receipts).await;
    assert_eq!(ids(&events).len(), events.len(), "the server drops what it has");
    until("nothing waits", async || {
        let pending = [r#"sink="nats""#];
        world.metrics(0).await.sum("flash_sale_events_pending", &pending) < 0.5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_has_events_in_order_although_one_is_lost_on_the_way() {
    let Some((_server, url)) = PrivateServers::nats() else {
        eprintln!("NATS is not installed: nothing is published to it");
        return;
    };
    let proxy = NatsProxy::to(&url).await;
    let world = plan(1).set("events.nats.url", &proxy.url).start().await;
    world.create_sale("--items 9 --stock 1").await;
    let client = async_nats::connect(&url).await.unwrap();
    until("the sale is told", async || !stored(&client).await.is_empty()).await;

    proxy.loses_one.store(true, Ordering::SeqCst);
    let write = "INSERT INTO outbox (sale_id, kind)
                 SELECT id, 'sale.sold_out' FROM sales, generate_series(1, 200)";
    sqlx::query(write).execute(world.pool()).await.unwrap();
    let mut events = Vec::new();
    until("all are told", async || {
        events = stored(&client).await;
        events.len() == 201
    })
    .await;

    assert!(!proxy.loses_one.load(Ordering::SeqCst), "one was lost");
    let stored: Vec<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    let written =
        "SELECT format('evt_%s_0', replace(batch::text, '-', '')) FROM outbox ORDER BY position";
    let written: Vec<String> = sqlx::query_scalar(written).fetch_all(world.pool()).await.unwrap();
    assert_eq!(stored, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_has_every_event_although_it_already_has_one_from_the_middle() {
    let Some((_server, url)) = PrivateServers::nats() else {
        eprintln!("NATS is not installed: nothing is published to it");
        return;
    };
    let world = plan(1).set("events.nats.url", &url).start().await;
    world.create_sale("--items 9 --stock 1").await;
    let client = async_nats::connect(&url).await.unwrap();
    until("the sale is told", async || !stored(&client).await.is_empty()).await;
    let batch = Uuid::now_v7();
    let earlier = jetstream::message::PublishMessage::build()
        .message_id(format!("evt_{}_0", batch.simple()))
        .payload("{}".into());
    let context = jetstream::new(client.clone());
    context.send_publish("flash_sale.earlier", earlier).await.unwrap().await.unwrap();

    let write = "INSERT INTO outbox (sale_id, kind, batch)
                 SELECT id, 'sale.sold_out', CASE number WHEN 100 THEN $1 ELSE gen_random_uuid() END
                 FROM sales, generate_series(1, 200) AS number";
    sqlx::query(write).bind(batch).execute(world.pool()).await.unwrap();

    until("all are told", async || {
        let mut stream = context.get_stream("FLASH_SALE").await.unwrap();
        stream.info().await.unwrap().state.messages == 201
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_sink_is_away_sales_go_on_and_the_other_sink_gets_everything() {
    let Some((server, url)) = PrivateServers::nats() else {
        eprintln!("NATS is not installed: nothing is published to it");
        return;
    };
    let plan = plan(1).private_redis().set("events.stream.enabled", "true");
    let world = plan.set("events.nats.url", &url).start().await;
    let sale = world.create_sale("--items 9 --stock 1").await;
    server.run("kill-nats");
    let first = world.at(0).buys(&sale, "ann", "1").await;
    let mut events = Vec::new();
    until("the stream has the first purchase", async || {
        events.extend(streamed(&world, "orders").await);
        purchases(&events).contains_key(first.as_str())
    })
    .await;
    let redis = world.redis_server.as_ref().unwrap();
    redis.run("kill-redis");
    let second = world.at(0).buys(&sale, "bob", "2").await;
    server.run("start-nats");

    let client = async_nats::connect(&url).await.unwrap();
    until("NATS has both purchases", async || {
        let events = stored(&client).await;
        let told = purchases(&events);
        told.contains_key(first.as_str()) && told.contains_key(second.as_str())
    })
    .await;
    redis.run("start-redis");
    until("the stream has the second purchase", async || {
        purchases(&streamed(&world, "orders").await).contains_key(second.as_str())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_stays_short_and_expires() {
    let plan = plan(1).set("events.stream.enabled", "true");
    let world = plan.set("events.stream.max_length", "1000").start().await;
    let sale = world.create_sale("--items 9 --stock 1").await;
    world.at(0).buys(&sale, "ann", "1").await;
    let write = "INSERT INTO outbox (sale_id, kind)
                 SELECT max(id), 'sale.sold_out' FROM sales, generate_series(1, 5000) GROUP BY sales.id, generate_series";
    sqlx::query(write).execute(world.pool()).await.unwrap();

    let (mut redis, stream) = (world.redis().await, format!("{}events", world.key_prefix));
    until("all are delivered", async || {
        let waiting = "SELECT last - position FROM outbox_order, event_sinks";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(world.pool()).await.unwrap();
        let unordered = "SELECT count(*) FROM outbox WHERE position IS NULL";
        let unordered: i64 = sqlx::query_scalar(unordered).fetch_one(world.pool()).await.unwrap();
        (waiting, unordered) == (0, 0)
    })
    .await;

    let length: usize = redis.xlen(&stream).await.unwrap();
    // Redis cuts whole nodes of a hundred entries off.
    assert!((1_000..1_200).contains(&length), "{length}");
    let expires_in: i64 = redis.pttl(&stream).await.unwrap();
    assert!(Duration::from_millis(expires_in.unsigned_abs()) > Duration::from_hours(24));
}

/// Starts a consumer as it stands in `examples/`, which takes over at once what another one has not acknowledged.
fn consumer(libraries: &Path, world: &World, name: &str) -> Process {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stream_consumer.py");
    let (url, stream) = (world.redis_url_for_clients(), format!("{}events", world.key_prefix));
    let mut python = Command::new(libraries.join("bin/python"));
    python.arg("-B").arg(source).args([&url, &stream, "orders", name, "--idle-ms", "1"]);
    Process::start(python.env_clear())
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_redis_py_lose_no_event_of_a_dead_one_and_tell_what_was_cut_off() {
    let Some(libraries) = libraries() else { return };
    let world = plan(1).set("events.stream.enabled", "true").start().await;
    let sale = world.create_sale("--items 9 --stock 1").await;
    for item in 1..=5 {
        world.at(0).buys(&sale, "ann", &item.to_string()).await;
    }
    let (mut redis, stream) = (world.redis().await, format!("{}events", world.key_prefix));
    let _: () = redis.xgroup_create_mkstream(&stream, "orders", "0").await.unwrap();
    // It dies with what it has read.
    let options = StreamReadOptions::default().group("orders", "dead").count(3);
    until("a consumer reads some", async || {
        let read: Option<StreamReadReply> =
            redis.clone().xread_options(&[&stream], &[">"], &options).await.unwrap();
        read.is_some_and(|read| read.keys.iter().any(|key| !key.ids.is_empty()))
    })
    .await;

    let first = consumer(&libraries, &world, "first");
    let told = |process: &Process| {
        let events = process.stdout.records();
        of_type(&events, "purchase.settled").iter().map(|it| it["data"]["code"].clone()).collect()
    };
    until("all purchases are told", async || {
        let told: Vec<Value> = told(&first);
        told.len() >= 5
    })
    .await;
    first.signal(Signal::SIGKILL);
    for item in 6..=8 {
        world.at(0).buys(&sale, "ann", &item.to_string()).await;
    }
    until("they are in the stream", async || {
        let length: usize = redis.clone().xlen(&stream).await.unwrap();
        length >= 17
    })
    .await;
    let cut = StreamMaxlen::Equals(1);
    let _: i64 = redis.xtrim(&stream, cut).await.unwrap();
    let second = consumer(&libraries, &world, "first");

    until("the loss is told", async || second.stderr.text().contains("cut off")).await;
    until("the rest is read", async || !second.stdout.lines().is_empty()).await;
    second.signal(Signal::SIGTERM);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_every_purchase_signed_although_it_and_instances_die() {
    let mut world = plan(2).set("webhooks.allow_private", "true").start().await;
    let worker = world.worker().await;
    let endpoint = Endpoint::start().await;
    endpoint.is_added_by(&world.program).await;
    let sale = world.create_sale(&format!("--items {ITEMS} --stock 1 --buyer-limit 100")).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    storm.has_sold(ITEMS / 4).await;
    endpoint.answer_with(503);
    worker.process.signal(Signal::SIGKILL);
    storm.has_sold(ITEMS / 2).await;
    world.instances.remove(1).process.signal(Signal::SIGKILL);
    storm.has_sold(ITEMS * 3 / 4).await;
    endpoint.answer_with(204);
    let receipts = storm.receipts().await;

    let mut events = Vec::new();
    until("the end of the sale is told", async || {
        events = endpoint.received();
        !of_type(&events, "sale.sold_out").is_empty()
    })
    .await;
    // Events of different buyers come in any order.
    until("all purchases are told", async || {
        events = endpoint.received();
        let on_record = "SELECT count(*) FROM purchases";
        let on_record: i64 = sqlx::query_scalar(on_record).fetch_one(world.pool()).await.unwrap();
        purchases(&events).len() >= usize::try_from(on_record).unwrap()
    })
    .await;

    assert_complete(&world, &events, &receipts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_missed_is_replayed_with_the_same_ids() {
    let world = plan(1).set("webhooks.allow_private", "true").start().await;
    let sale = world.create_sale("--items 9 --stock 1").await;
    let before = world.at(0).buys(&sale, "ann", "1").await;
    let endpoint = Endpoint::start().await;
    let webhook = endpoint.is_added_by(&world.program).await;
    let after = world.at(0).buys(&sale, "bob", "2").await;
    until("the new purchase is told", async || {
        purchases(&endpoint.received()).contains_key(after.as_str())
    })
    .await;
    assert!(!purchases(&endpoint.received()).contains_key(before.as_str()));
    let first = endpoint.received();

    let since = "2020-01-01T00:00:00Z";
    world.program.run(&["webhook", "replay", &webhook, "--since", since]).await.succeeded();

    until("what was told is told again with the same ids, and what was missed", async || {
        let events = endpoint.received();
        purchases(&events).contains_key(before.as_str())
            && ids(&first).is_subset(&ids(&events[first.len()..]))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_sale_is_told_with_its_report() {
    let world = plan(1).set("webhooks.allow_private", "true").start().await;
    let endpoint = Endpoint::start().await;
    endpoint.is_added_by(&world.program).await;
    let sale = world.create_sale("--items 3 --stock 1").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.end(&sale).await;

    let ended = eventually("the end is told", async || {
        of_type(&endpoint.received(), "sale.ended").first().map(|event| (*event).clone())
    })
    .await;

    let printed = world.printed(&["sale", "report", &sale]).await;
    assert_eq!(ended["data"], printed);
    assert_eq!((&printed["sold"], &printed["final"]), (&1.into(), &true.into()));
}
