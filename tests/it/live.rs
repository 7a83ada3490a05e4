//! The live state of a sale, as server-sent events.

use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use reqwest::{Method, Version};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::client::builder;
use crate::harness::events::{Event, Events};
use crate::harness::process::Process;
use crate::harness::{Wire, World, until};

/// Whether an instance has this many listeners.
async fn has_listeners(world: &World, instance: usize, expected: f64) -> bool {
    let count = world.metrics(instance).await.sum("flash_sale_live_listeners", &[]);
    (count - expected).abs() < f64::EPSILON
}

fn path(sale: &str) -> String {
    format!("/v2/sales/{sale}/events")
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_every_instance_are_told_what_any_of_them_sells() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 3 --stock 2").await;
    let mut all = Vec::new();
    for client in world.clients() {
        all.push(Events::of(&client, &sale, &[]).await);
    }

    for events in &mut all {
        let Event { name, id, data } = events.next().await.unwrap();
        assert_eq!((name.as_str(), id.as_str()), ("state", "open-0-6"));
        let members: Vec<&String> = data.as_object().unwrap().keys().collect();
        assert_eq!(members, ["state", "sold", "remaining", "server_time"]);
        assert_eq!(data["state"], "open");
        let read = world.at(0).get(&format!("/v2/sales/{sale}")).await.is(200);
        let [told, now] =
            [data["server_time"].as_str().unwrap(), read.header("server-time").unwrap()]
                .map(|time| time.parse::<DateTime<Utc>>().unwrap());
        assert!((now - told).abs() < chrono::Duration::minutes(5), "{told}, {now}");
    }
    world.at(0).buys(&sale, "ann", "1").await;
    world.at(1).buys(&sale, "bob", "2").await;
    for events in &mut all {
        events.until_pieces(2, 4).await;
    }

    for instance in 0..2 {
        assert!(has_listeners(&world, instance, 1.0).await);
    }
    drop(all);
    for instance in 0..2 {
        until("no listener is left", async || has_listeners(&world, instance, 0.0).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_sells_out_and_is_restocked_under_its_listeners() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 2 --stock 1").await;
    let mut events = Events::of(world.at(1), &sale, &[]).await;

    world.at(0).buys(&sale, "ann", "1").await;
    world.at(0).buys(&sale, "ann", "2").await;
    let sold_out = events.until_pieces(2, 0).await;
    let restock = ["sale", "restock", &sale, "2", "--pieces", "5"];
    world.program.run(&restock).await.succeeded();
    let restocked = events.until_pieces(2, 5).await;
    world.at(1).buys(&sale, "bob", "2").await;
    events.until_pieces(3, 4).await;

    assert_eq!((&*sold_out.id, &*restocked.id), ("open-2-0", "open-2-5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_counted_and_tell_only_changes() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 999 --buyer-limit 999").await;
    let mut events = Events::of(world.at(0), &sale, &[]).await;
    let first = events.data().await;
    let (client, of) = (world.at(0).clone(), sale.clone());
    let mut buying = JoinSet::new();
    buying.spawn(async move {
        for _ in 0..200 {
            client.buys(&of, "ann", "1").await;
        }
    });

    let (mut told, mut last) = (vec![(Instant::now(), first)], 0);
    while last < 200 {
        let data = events.data().await;
        last = data["sold"].as_u64().unwrap();
        told.push((Instant::now(), data));
    }
    buying.join_all().await;

    let sold: Vec<u64> = told.iter().map(|(_, data)| data["sold"].as_u64().unwrap()).collect();
    assert!(sold.is_sorted_by(|one, next| one < next), "{sold:?}");
    // The service reads its clock at each event, so what delays the test does not count.
    let times: Vec<DateTime<Utc>> = told
        .iter()
        .map(|(_, data)| data["server_time"].as_str().unwrap().parse().unwrap())
        .collect();
    // The first one is told at once, whenever the tick is.
    for five in times[1..].windows(5) {
        assert!(five[4] - five[0] >= chrono::Duration::milliseconds(990), "{five:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_after_its_sale_and_a_browser_is_told_to_stop() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 3").await;
    let mut events = Events::of(world.at(0), &sale, &[]).await;
    world.at(1).buys(&sale, "ann", "1").await;
    world.end(&sale).await;

    let mut last = events.next().await.unwrap();
    while let Some(next) = events.next().await {
        last = next;
    }

    assert_eq!((last.id.as_str(), &last.data["state"]), ("ended-1-2", &json!("ended")));
    for instance in 0..2 {
        let mut late = Events::of(world.at(instance), &sale, &[]).await;
        assert_eq!(late.next().await.unwrap().id, last.id);
        assert_eq!(late.next().await, None);
        let seen = [("last-event-id", &*last.id)];
        let stopped = world.at(instance).send(Method::GET, &path(&sale), &seen).await.is(204);
        assert_eq!(stopped.body, "");
        // One that has not seen the end is told.
        let mut missed =
            Events::of(world.at(instance), &sale, &[("last-event-id", "open-1-2")]).await;
        assert_eq!(missed.next().await.unwrap().id, last.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_to_another_instance_gets_nothing_twice() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 9").await;
    world.at(0).buys(&sale, "ann", "1").await;
    let mut events = Events::of(world.at(0), &sale, &[]).await;
    let seen = events.until_pieces(1, 8).await;
    drop(events);

    let mut back = Events::of(world.at(1), &sale, &[("last-event-id", &seen.id)]).await;
    let mut new = Events::of(world.at(1), &sale, &[]).await;
    assert_eq!(new.next().await.unwrap().id, seen.id);
    // A listener with an older state receives the next reading. The listener that returned was offered the same reading.
    let mut behind = Events::of(world.at(1), &sale, &[("last-event-id", "open-0-9")]).await;
    assert_eq!(behind.next().await.unwrap().id, seen.id);
    world.at(0).buys(&sale, "bob", "2").await;
    new.until_pieces(2, 7).await;

    assert_eq!(back.next().await.unwrap().id, "open-2-7");
    // An id of something else is no obstacle.
    for id in ["7", "open", "'; DROP TABLE sales; --"] {
        let mut events = Events::of(world.at(1), &sale, &[("last-event-id", id)]).await;
        assert_eq!(events.next().await.unwrap().id, "open-2-7", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_sale_cannot_be_followed() {
    let world = World::of(1).await;

    for sale in ["S-ZZZZZZ", "nonsense", "%00", "S-1%2F"] {
        let answer = world.at(0).get(&path(sale)).await;
        answer.problem(404, "sale_not_found");
    }
    let sale = world.create_sale("--items 1").await;
    world.at(0).send(Method::POST, &path(&sale), &[]).await.problem(405, "method_not_allowed");
    let versioned = world.at(0).get(&format!("/v1/sales/{sale}/events")).await;
    versioned.refuses(404, "route_not_found");
    let head = world.at(0).send(Method::HEAD, &path(&sale), &[]).await.is(200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    until("a HEAD leaves no listener", async || has_listeners(&world, 0, 0.0).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_outlast_postgresql_and_go_on_when_it_is_back() {
    let world = World::plan(2).private_postgres().start().await;
    let postgres = world.postgres_server.as_ref().unwrap();
    let sale = world.create_sale("--items 9").await;
    let mut all = Vec::new();
    for client in world.clients() {
        let mut events = Events::of(&client, &sale, &[]).await;
        events.next().await.unwrap();
        all.push(events);
    }

    postgres.run("kill-postgres");
    for instance in &world.instances {
        instance.readiness_is(503).await;
    }
    // One that comes meanwhile is told what is known, and waits with the others.
    let mut late = Events::of(world.at(0), &sale, &[]).await;
    assert_eq!(late.next().await.unwrap().id, "open-0-9");
    all.push(late);
    postgres.run("start-postgres");
    for instance in &world.instances {
        instance.ready().await;
    }
    world.at(0).buys(&sale, "ann", "1").await;

    for events in &mut all {
        events.until_pieces(1, 8).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_has_a_comment_every_fifteen_seconds() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let began = Instant::now();
    let mut events = Events::of(world.at(0), &sale, &[]).await;
    events.next().await.unwrap();
    assert!(events.retry.is_some_and(|retry| (1_000..3_000).contains(&retry)));

    // A comment is no event: what comes after it is.
    until("a comment arrives", async || {
        let _ = tokio::time::timeout(Duration::from_millis(200), events.next()).await;
        events.comments > 0
    })
    .await;

    assert!(began.elapsed() >= Duration::from_secs(14), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_are_bounded_and_disturb_no_others() {
    const ROOM: usize = 40;
    let world = World::plan(1).set("live.max_listeners", &ROOM.to_string()).start().await;
    let sale = world.create_sale("--items 9 --stock 999 --buyer-limit 999").await;
    let mut reader = Events::of(world.at(0), &sale, &[]).await;
    let request = format!("GET {} HTTP/1.1\r\nHost: shop\r\n\r\n", path(&sale));
    let mut silent = Vec::new();
    for _ in 1..ROOM {
        let mut wire = Wire::connect(world.at(0).address).await.unwrap();
        assert!(wire.send(request.as_bytes()).await);
        silent.push(wire);
    }
    until("the room is full", async || has_listeners(&world, 0, 40.0).await).await;

    for _ in 0..20 {
        let refused = world.at(0).get(&path(&sale)).await.problem(503, "overloaded");
        assert!(refused.header("retry-after").is_some());
    }
    for sold in 1..=5 {
        world.at(0).buys(&sale, "ann", "1").await;
        reader.until_pieces(sold, 9 * 999 - sold).await;
    }
    // Reads of the sale are not events.
    world.at(0).get(&format!("/v2/sales/{sale}")).await.is(200);

    drop(silent);
    until("the others have gone", async || has_listeners(&world, 0, 1.0).await).await;
    Events::of(world.at(0), &sale, &[]).await.next().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_http2_outlasts_the_idle_time() {
    let plan = World::plan(1).set("http.idle_timeout", "1s").set("http.header_read_timeout", "1s");
    // A connection that ends is given this time for what it carries.
    let plan = plan.set("http.request_timeout", "1s");
    let world = plan.start().await;
    let sale = world.create_sale("--items 9").await;
    let client = builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}{}", world.at(0).address, path(&sale));
    let mut events = Events::with(&client, &url, &[]).await;
    assert_eq!(events.version(), Version::HTTP_2);
    events.next().await.unwrap();

    // A connection that carries nothing ends after the idle time. So many of them, one after the other, outlast the end of the
    // listener's if that were believed to be idle: a second, and what such an end takes.
    for _ in 0..9 {
        let mut idle = Wire::connect(world.at(0).address).await.unwrap();
        assert!(idle.send(b"GET /health HTTP/1.1\r\nHost: shop\r\n\r\n").await);
        assert_eq!(idle.receive().await.status, Some(200));
    }
    let mut second = Events::with(&client, &url, &[]).await;
    second.next().await.unwrap();
    let mut idle = Wire::connect(world.at(0).address).await.unwrap();
    assert!(idle.send(b"GET /health HTTP/1.1\r\nHost: shop\r\n\r\n").await);
    assert_eq!(idle.receive().await.status, Some(200));

    world.at(0).buys(&sale, "ann", "1").await;
    events.until_pieces(1, 8).await;
    second.until_pieces(1, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_in_order_and_does_not_wait_for_listeners() {
    // What the stop waited for would keep it for longer than the drain.
    let plan = World::plan(2).set("shutdown.grace", "0s").set("shutdown.drain", "20s");
    let mut world = plan.start().await;
    let sale = world.create_sale("--items 9").await;
    let http2 = builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}{}", world.at(0).address, path(&sale));
    let mut streams =
        vec![Events::of(world.at(0), &sale, &[]).await, Events::with(&http2, &url, &[]).await];
    // One that never reads.
    let mut silent = Wire::connect(world.at(0).address).await.unwrap();
    silent.send(format!("GET {} HTTP/1.1\r\nHost: shop\r\n\r\n", path(&sale)).as_bytes()).await;
    until("all listen", async || has_listeners(&world, 0, 3.0).await).await;
    let mut ids = Vec::new();
    for events in &mut streams {
        ids.push(events.next().await.unwrap().id);
    }

    let mut stopped = world.instances.remove(0);
    stopped.process.signal(Signal::SIGTERM);
    for events in &mut streams {
        assert_eq!(events.next().await, None);
    }
    assert_eq!(stopped.process.exit().await, Some(0));

    let mut back = Events::of(world.at(0), &sale, &[("last-event-id", &ids[0])]).await;
    world.at(0).buys(&sale, "ann", "1").await;
    back.until_pieces(1, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_way_holds_events_back() {
    let plan = World::plan(1).set("log.requests", "all").set("http.request_timeout", "1s");
    let world = plan.set("http.cors.origins", "https://shop.example").start().await;
    let sale = world.create_sale("--items 9").await;
    let asked = [
        ("accept", "text/event-stream"),
        ("accept-encoding", "gzip, zstd"),
        ("origin", "https://shop.example"),
        ("x-request-id", "live-1"),
    ];
    let mut events = Events::of(world.at(0), &sale, &asked).await;

    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert_eq!(events.header("content-encoding"), None);
    assert_eq!(events.header("x-accel-buffering"), Some("no"));
    assert_eq!(events.header("access-control-allow-origin"), Some("https://shop.example"));
    let cache = events.header("cache-control").unwrap();
    assert!(cache.contains("no-store") && cache.contains("no-transform"), "{cache}");
    events.next().await.unwrap();
    // Longer than the request timeout, by the time that the other request takes.
    let began = Instant::now();
    until("a while has passed", async || {
        world.at(0).get("/health").await.is(200);
        began.elapsed() > Duration::from_millis(2_500)
    })
    .await;
    world.at(0).buys(&sale, "ann", "1").await;
    events.until_pieces(1, 8).await;

    let lines = || -> Vec<Value> {
        let records = world.instances[0].process.stderr.records();
        records.into_iter().filter(|record| record["request_id"] == "live-1").collect()
    };
    assert_eq!(lines(), Vec::<Value>::new(), "the line is written at the end");
    drop(events);
    until("the request is logged", async || lines().len() == 1).await;
    let line = lines().remove(0);
    assert_eq!((&line["route"], &line["status"]), (&json!("/sales/{sale_id}/events"), &json!(200)));
    assert!(line["elapsed_ms"].as_f64().unwrap() > 2_500.0, "{line}");
}

/// nginx in front of an instance, with the settings that it has by default. `None` if it is not installed.
async fn nginx(world: &World) -> Option<(Process, String)> {
    let program = ["nginx", "/usr/sbin/nginx"]
        .into_iter()
        .find(|program| Command::new(program).arg("-v").output().is_ok())?;
    let folder = std::env::temp_dir().join(format!("nginx-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&folder).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (at, folder_name) = (world.at(0).address, folder.display());
    let file = folder.join("nginx.conf");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String =
        temporary.map(|kind| format!("{kind}_temp_path {folder_name}/{kind};")).concat();
    let text = format!(
        "daemon off; master_process off; pid {folder_name}/pid; error_log stderr;
         events {{ worker_connections 64; }}
         http {{ access_log off; {temporary} gzip on; gzip_types text/event-stream; gzip_proxied any;
           server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{at}; }} }} }}"
    );
    std::fs::write(&file, text).unwrap();
    let process = Process::start(Command::new(program).arg("-c").arg(&file).arg("-p").arg(&folder));
    let url = format!("http://127.0.0.1:{port}");
    let client = builder().build().unwrap();
    until("nginx listens", async || client.get(format!("{url}/health")).send().await.is_ok()).await;
    Some((process, url))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_through_nginx_one_by_one() {
    let world = World::of(1).await;
    let Some((_nginx, url)) = nginx(&world).await else {
        eprintln!("no nginx is installed: events through it are not tested");
        return;
    };
    let sale = world.create_sale("--items 9").await;
    let client = builder().no_gzip().no_zstd().build().unwrap();
    let mut events = Events::with(&client, &format!("{url}{}", path(&sale)), &[]).await;

    assert_eq!(events.next().await.unwrap().id, "open-0-9");
    for sold in 1..=4 {
        world.at(0).buys(&sale, "ann", &sold.to_string()).await;
        events.until_pieces(sold, 9 - sold).await;
    }
}
