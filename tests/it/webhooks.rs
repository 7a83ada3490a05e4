//! Webhooks: what operators do with endpoints, which of them are refused, and that receivers with the libraries of the
//! specification accept what is sent.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::harness::commands::{Ran, libraries};
use crate::harness::process::Process;
use crate::harness::{World, eventually, until};

/// A database without instances.
async fn world(allow_private: bool) -> World {
    let world = World::plan(0).set("webhooks.allow_private", &allow_private.to_string());
    let world = world.start().await;
    world.program.run(&["migrate"]).await.succeeded();
    world
}

async fn run(world: &World, arguments: &[&str]) -> Ran {
    world.program.run(&[&["webhook"], arguments].concat()).await
}

/// The only document that a command prints.
async fn done(world: &World, arguments: &[&str]) -> Value {
    run(world, arguments).await.succeeded().documents().remove(0)
}

async fn listed(world: &World) -> Vec<Value> {
    run(world, &["list"]).await.succeeded().documents()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value} is no text"))
}

/// A server that gives every request this answer, and counts its connections.
async fn server(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counter = Arc::clone(&connections);
    TaskTracker::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut buffer = [0; 8192];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (address, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_added_shown_paused_resumed_and_removed() {
    let world = world(false).await;

    let url = "https://shop.example/hook";
    let added = done(&world, &["add", url, "--events", "purchase.settled,sale.ended"]).await;
    let other = done(&world, &["add", "https://other.example"]).await;
    let id = text(&added, "id");

    assert!(id.starts_with("wh_") && text(&added, "secret").starts_with("whsec_"), "{added}");
    assert_eq!(text(&other, "url"), "https://other.example/");
    let all = listed(&world).await;
    let ids: Vec<_> = all.iter().map(|webhook| text(webhook, "id")).collect();
    assert_eq!(ids, [id, text(&other, "id")]);
    assert_eq!(all[0]["events"], serde_json::json!(["purchase.settled", "sale.ended"]));
    assert_eq!(all[1]["events"].as_array().unwrap().len(), 6);
    let everything =
        run(&world, &["list"]).await.stdout + &*run(&world, &["show", id]).await.stdout;
    assert!(!everything.contains("whsec_"), "{everything}");
    for (change, state) in [("pause", "paused"), ("pause", "paused"), ("resume", "active")] {
        assert_eq!(text(&done(&world, &[change, id]).await, "state"), state);
        assert_eq!(text(&done(&world, &["show", id]).await, "state"), state);
    }
    done(&world, &["remove", id]).await;
    let table = run(&world, &["list", "--output", "table"]).await.succeeded().stdout;
    assert!(!table.contains(id) && table.contains(text(&other, "id")), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_printed_once_and_the_one_before_signs_for_a_day() {
    let world = world(false).await;
    let added = done(&world, &["add", "https://shop.example/"]).await;

    let rotated = done(&world, &["rotate-secret", text(&added, "id")]).await;

    assert_ne!(rotated["secret"], added["secret"]);
    let until = chrono::DateTime::parse_from_rfc3339(text(&rotated, "previous_secret_until"));
    let now = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(world.pool()).await;
    let now: chrono::DateTime<chrono::Utc> = now.unwrap();
    let left = until.unwrap().to_utc() - now;
    assert!((1380..=1440).contains(&left.num_minutes()), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_a_reason() {
    let world = world(false).await;
    let added = done(&world, &["add", "https://shop.example/"]).await;
    let id = text(&added, "id");

    for (arguments, code, reason) in [
        (vec!["add", "shop.example"], 2, "not a URL"),
        (vec!["add", "http://shop.example/"], 2, "https://"),
        (vec!["add", "https://ann:secret@shop.example/"], 2, "password"),
        (vec!["add", "https://127.0.0.1/"], 2, "webhooks.allow_private"),
        (vec!["add", "https://[::ffff:192.168.0.1]/"], 2, "private address"),
        (vec!["add", "https://169.254.169.254/latest/meta-data"], 2, "link-local"),
        (vec!["add", "https://shop.example/", "--events", "sale.began"], 2, "sale.opened"),
        (vec!["show", "wh_0"], 1, "there is no webhook wh_0"),
        (vec!["pause", "wh_0"], 1, "there is no webhook"),
        (vec!["remove", "wh_0"], 1, "there is no webhook"),
        (vec!["rotate-secret", "wh_0"], 1, "there is no webhook"),
        (vec!["test", "wh_0"], 1, "there is no webhook"),
        (vec!["replay", "wh_0", "--since", "2026-11-20T16:00:00Z"], 1, "there is no webhook"),
        (vec!["show", "'; DROP TABLE webhooks"], 2, "webhook list"),
        (vec!["replay", id], 2, "--since"),
        (vec!["replay", id, "--since", "yesterday"], 2, "--since"),
        (
            vec![
                "replay",
                id,
                "--since",
                "2026-11-20T16:00:00Z",
                "--until",
                "2026-11-20T15:00:00Z",
            ],
            2,
            "--until must be later",
        ),
    ] {
        let ran = run(&world, &arguments).await;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran}");
        assert_eq!((ran.stdout.as_str(), ran.complaint().len()), ("", 1), "{arguments:?}: {ran}");
        assert!(ran.stderr.contains(reason), "{arguments:?}: {ran}");
        assert!(!ran.stderr.contains("secret@"), "{ran}");
    }
    assert_eq!(listed(&world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_a_private_address_is_not_connected_to_unless_allowed() {
    let world = world(true).await;
    let (address, connections) =
        server("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok").await;
    // Added while it was allowed: by address, and by a name that resolves to one.
    let urls = [format!("http://{address}/"), format!("http://localhost:{}/", address.port())];
    let mut ids = Vec::new();
    for url in &urls {
        ids.push(text(&done(&world, &["add", url]).await, "id").to_owned());
    }
    let secure = format!("https://localhost:{}/", address.port());
    ids.push(text(&done(&world, &["add", &secure]).await, "id").to_owned());

    let strict = world.program.clone().set("webhooks.allow_private", "false");
    for id in &ids {
        let ran = strict.run(&["webhook", "test", id]).await;
        assert_eq!(ran.code, Some(1), "{ran}");
        let answer = ran.documents().remove(0);
        let error = text(&answer, "error");
        assert!(error.contains("https://") || error.contains("is a loopback address"), "{error}");
        assert_eq!(answer["status"], Value::Null);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 0);

    let accepted = done(&world, &["test", &ids[0]]).await;
    assert_eq!((&accepted["status"], text(&accepted, "answer")), (&202.into(), "ok"));
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_shows_what_is_wrong_with_an_endpoint() {
    let world = world(true).await;
    let (redirects, _) =
        server("HTTP/1.1 301 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n").await;
    let (fails, _) = server("HTTP/1.1 500 Oh\r\ncontent-length: 8\r\n\r\nno disk\n").await;
    let (plain, _) = server("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();

    for (url, status, part) in [
        (format!("http://{redirects}/"), Some(301), "answered 301"),
        (format!("http://{fails}/"), Some(500), "no disk"),
        (format!("https://{plain}/"), None, "TLS failed"),
        (format!("http://{closed}/"), None, "cannot connect to"),
        ("http://no-such-name.invalid/".to_owned(), None, "has no address"),
    ] {
        let added = done(&world, &["add", &url]).await;
        let ran = run(&world, &["test", text(&added, "id")]).await;
        assert_eq!(ran.code, Some(1), "{url}: {ran}");
        assert_eq!(ran.documents()[0]["status"], status.map_or(Value::Null, Value::from), "{url}");
        assert!((ran.stdout.clone() + &*ran.stderr).contains(part), "{url}: {ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn running_instances_lease_an_endpoint_to_one_of_them_and_count_it() {
    let mut world = World::plan(2).set("jobs.enabled", "true").start().await;
    let added = done(&world, &["add", "https://shop.example/"]).await;
    let owner = async || {
        let owner = "SELECT lease_owner FROM webhooks WHERE lease_until > clock_timestamp()";
        sqlx::query_scalar::<_, String>(owner).fetch_optional(world.pool()).await.unwrap()
    };

    let first = eventually("an instance has the lease", owner).await;
    done(&world, &["pause", text(&added, "id")]).await;
    until("a paused endpoint has no owner", async || owner().await.is_none()).await;
    done(&world, &["resume", text(&added, "id")]).await;
    until("it is leased again", async || owner().await.is_some()).await;
    until("it is counted", async || {
        let metrics = world.instances[0].monitor.get("/metrics").await.is(200).body;
        metrics.contains("flash_sale_webhooks{state=\"active\"} 1")
            && metrics.contains("flash_sale_webhook_deliveries_total{outcome=\"delivered\"} 0")
            && metrics.contains("flash_sale_events_pending{sink=\"webhook\"} 0")
    })
    .await;
    assert!(!first.is_empty());
    world.stop().await;

    // Given back at the stop: a successor does not wait until it ends.
    let leased = "SELECT count(*) FROM webhooks WHERE lease_until > clock_timestamp()";
    let leased: i64 = sqlx::query_scalar(leased).fetch_one(world.pool()).await.unwrap();
    assert_eq!(leased, 0);
}

/// Starts a receiver as it stands in `examples/`, with this secret, and returns its address.
async fn receiver(libraries: &Path, script: &str, secret: &str) -> (Process, String) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(script);
    let mut command = if source.extension().is_some_and(|extension| extension == "py") {
        let mut python = Command::new(libraries.join("bin/python"));
        python.arg("-B").arg(source);
        python
    } else {
        // Node looks for libraries beside the program.
        let folder = std::env::temp_dir().join(format!("webhooks-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(source, folder.join(script)).unwrap();
        symlink(libraries.join("node_modules"), folder.join("node_modules")).unwrap();
        let mut node = Command::new(libraries.join("bin/node"));
        node.arg(folder.join(script));
        node
    };
    command.arg("0").env_clear().env("WEBHOOK_SECRET", secret);
    let mut process = Process::start(&mut command);
    let url = eventually("the receiver listens", async || {
        assert!(!process.has_ended(), "{}", process.stderr.text());
        let lines = process.stderr.lines();
        lines.iter().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned))
    })
    .await;
    (process, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_with_the_libraries_of_the_specification_accept_what_is_sent() {
    let Some(libraries) = libraries() else { return };
    let world = world(true).await;
    for script in ["webhook_receiver.py", "webhook_receiver.mjs"] {
        // The secret is known only when the endpoint is added, and the endpoint's port when the receiver runs with it.
        let added = done(&world, &["add", "http://127.0.0.1:1/"]).await;
        let (id, secret) = (text(&added, "id"), text(&added, "secret"));
        let (process, url) = receiver(&libraries, script, secret).await;
        let moved = "UPDATE webhooks SET url = $2 WHERE id = $1";
        sqlx::query(moved).bind(id).bind(&url).execute(world.pool()).await.unwrap();

        let first = done(&world, &["test", id]).await;
        assert_eq!(first["status"], 204, "{script}: {first}");
        // The old secret signs as well: the receiver still has that one.
        done(&world, &["rotate-secret", id]).await;
        let second = done(&world, &["test", id]).await;
        assert_eq!(second["status"], 204, "{script}: {second}");
        done(&world, &["rotate-secret", id]).await;
        let refused = run(&world, &["test", id]).await;
        assert_eq!(refused.code, Some(1), "{script}: {refused}");
        assert_eq!(refused.documents()[0]["status"], 401, "{script}: {refused}");

        until("both events are printed", async || process.stdout.lines().len() == 2).await;
        let events = process.stdout.records();
        let ids: BTreeSet<_> = events.iter().map(|event| text(event, "id")).collect();
        assert_eq!(ids, BTreeSet::from([text(&first, "event_id"), text(&second, "event_id")]));
        assert_eq!(text(&events[0], "type"), "flash_sale.webhook.test.v1");
        assert_eq!(text(&events[0], "specversion"), "1.0");
    }
}
