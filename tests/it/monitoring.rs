//! Probes, and metrics without any user's input.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use crate::harness::metrics::Metrics;
use crate::harness::{Wire, World, wire};

/// Every metric of the contract, with its labels.
const METRICS: &[(&str, &[&str])] = &[
    ("http_requests_total", &["method", "route", "status"]),
    ("http_request_duration_seconds_bucket", &["method", "route"]),
    ("flash_sale_checkouts_total", &["outcome"]),
    ("flash_sale_purchases_total", &["outcome"]),
    ("flash_sale_items_sold_total", &[]),
    ("flash_sale_refusals_total", &["reason"]),
    ("flash_sale_bloom_checks_total", &["result"]),
    ("flash_sale_batch_size_bucket", &["queue"]),
    ("flash_sale_queue_depth", &["queue"]),
    ("flash_sale_queue_wait_seconds_bucket", &["queue"]),
    ("flash_sale_db_connections", &["state"]),
    ("flash_sale_db_acquire_duration_seconds_bucket", &[]),
    ("flash_sale_db_query_duration_seconds_bucket", &["statement"]),
    ("flash_sale_db_errors_total", &["class"]),
    ("flash_sale_redis_up", &[]),
    ("flash_sale_redis_missing_rights", &[]),
    ("flash_sale_circuit_state", &["dependency", "state"]),
    ("flash_sale_build_info", &[]),
    ("flash_sale_config_reloads_total", &["outcome"]),
    ("flash_sale_jobs", &["state", "priority"]),
    ("flash_sale_job_runs_total", &["type", "outcome"]),
    ("flash_sale_job_duration_seconds_bucket", &["type"]),
    ("flash_sale_schedule_runs_total", &["name", "outcome"]),
    ("flash_sale_events_pending", &["sink"]),
    ("flash_sale_event_delivery_seconds_bucket", &["sink"]),
    ("flash_sale_webhook_deliveries_total", &["outcome"]),
    ("flash_sale_tasks", &[]),
    ("flash_sale_live_listeners", &[]),
];
/// Prefixes of our own metrics; dashboards also show those of other programs.
const OURS: [&str; 2] = ["flash_sale_", "http_request"];

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_contract_is_there_after_some_trade() {
    let world = World::plan(1).set("jobs.enabled", "true").start().await;
    let job = world.prints("schedule run prune-jobs").await["id"].as_i64().unwrap();
    world.job_is(job, "done").await;
    let sale = trade(&world).await;

    let metrics = world.metrics(0).await;

    for (name, labels) in METRICS {
        assert!(metrics.names().contains(name), "{name} is missing");
        for label in *labels {
            assert!(metrics.has_label(name, label), "{name} has no label {label}");
        }
    }
    let pieces = metrics.sum("flash_sale_items_sold_total", &[]);
    assert!((pieces - 2.0).abs() < f64::EPSILON, "{pieces} pieces of {sale}");
    let refused = metrics.sum("flash_sale_refusals_total", &["reason=\"item_sold_out\""]);
    assert!((refused - 1.0).abs() < f64::EPSILON, "{refused} refusals");
    let posted = metrics.sum("http_requests_total", &["method=\"POST\"", "status=\"200\""]);
    assert!(posted >= 2.0, "{posted} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_compressed_for_those_who_accept_it() {
    let world = World::of(1).await;
    let monitor = &world.instances[0].monitor;

    let compressed = monitor.send(Method::GET, "/metrics", &[("accept-encoding", "gzip")]).await;
    let plain = monitor.send(Method::GET, "/metrics", &[("accept-encoding", "identity")]).await;

    assert!(compressed.is(200).header("vary").unwrap().contains("accept-encoding"));
    assert_eq!(plain.is(200).header("content-encoding"), None);
    let mut wire = Wire::connect(monitor.address).await.unwrap();
    let request =
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    wire.send(request).await;
    let head = wire.receive().await.head;
    assert!(head.to_ascii_lowercase().contains("content-encoding: gzip"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_names_the_rules_of_the_time_zone() {
    let world = World::plan(1).set("schedule.time_zone", "Asia/Kathmandu").start().await;

    let health = world.instances[0].monitor.get("/healthz").await.is(200);

    assert_eq!(health.at("/checks/time_zone/name"), "Asia/Kathmandu");
    assert_eq!(health.at("/checks/time_zone/status"), "up");
    assert!(health.at("/checks/time_zone/release").is_string());
    assert!(health.at("/checks/time_zone/source").is_string());
    let public = world.at(0).get("/health").await.is(200);
    assert_eq!(public.at("/checks/time_zone"), serde_json::json!({ "status": "up" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_dashboards_and_alerts_name_exists() {
    let world = World::plan(1).set("jobs.enabled", "true").start().await;
    let job = world.prints("schedule run prune-jobs").await["id"].as_i64().unwrap();
    world.job_is(job, "done").await;
    trade(&world).await;
    let metrics = world.metrics(0).await;
    let names = metrics.names();

    let expressions = expressions_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"));

    let wanted: BTreeSet<&str> = expressions.iter().flat_map(|text| own_metrics(text)).collect();
    assert!(wanted.len() > 5, "dashboards and alerts name few metrics: {wanted:?}");
    let missing: Vec<_> = wanted.difference(&names).collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_user_typed_is_in_a_metric() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5 --name Zebra").await;
    let code = world.at(0).buys(&sale, "zebra-user", "1").await;
    world.at(0).checkout(&sale, "zebra", "zebra-item").await.is(404);
    world.at(0).get("/zebra/path").await.is(404);
    world.at(0).get("/users/zebra/purchases?zebra=1").await.is(200);
    world.at(0).get(&format!("/sales/{sale}/items")).await.is(200);
    world.at(0).get(&format!("/purchases/{code}")).await.is(200);
    let mut wire = Wire::connect(world.at(0).address).await.unwrap();
    wire.send(&wire::request("ZEBRA", "/checkout")).await;
    wire.receive().await;

    let text = world.instances[0].monitor.get("/metrics").await.is(200).body;

    assert!(!text.to_lowercase().contains("zebra"), "{text}");
    assert!(!text.contains(&code));
    let metrics = Metrics::parse(&text);
    for route in ["/sales/{sale_id}/items", "/purchases/{code}", "/users/{user_id}/purchases"] {
        let seen = metrics.sum("http_requests_total", &[route]);
        assert!((seen - 1.0).abs() < f64::EPSILON, "{route} was seen {seen} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_in_json() {
    let world = World::of(1).await;
    let monitor = &world.instances[0].monitor;

    for path in ["/livez", "/readyz", "/healthz"] {
        let probe = monitor.get(path).await.is(200);
        assert!(probe.json().is_object(), "{path}: {}", probe.body);
    }
    let health = monitor.get("/healthz").await;
    for dependency in ["postgres", "redis"] {
        assert!(health.body.to_lowercase().contains(dependency), "{}", health.body);
    }
    world.at(0).get("/health").await.is(200);
    // The development profile serves the metrics on the buyers' port as well.
    assert!(world.at(0).get("/metrics").await.is(200).body.contains("flash_sale_build_info"));
    let text = monitor.get("/metrics").await;
    assert!(text.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
}

/// Makes a purchase of two pieces and a refusal. Returns the sale's id.
async fn trade(world: &World) -> String {
    let sale = world.create_sale("--items 5").await;
    world.at(0).collects(&sale, "ann", "2").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.at(0).checkout(&sale, "bob", "1").await.refuses(409, "item_sold_out");
    world.at(0).purchase("CHK-S-1-nonsense").await.is(404);
    sale
}

/// The Prometheus expressions in the files below a folder.
fn expressions_of(folder: &Path) -> Vec<String> {
    let mut expressions = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(content) = content_of(&path) {
                collect(&content, &mut expressions);
            }
        }
    }
    expressions
}

/// The content of a JSON or YAML file; `None` for other files.
fn content_of(path: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    match path.extension()?.to_str()? {
        "json" => Some(serde_json::from_str(&text).unwrap()),
        "yml" | "yaml" => Some(serde_yaml_ng::from_str(&text).unwrap()),
        _ => None,
    }
}

/// Collects the texts under `expr`, at any depth.
fn collect(value: &Value, expressions: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "expr" => expressions.push(text.clone()),
                    other => collect(other, expressions),
                }
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| collect(entry, expressions)),
        _ => {}
    }
}

/// The names of our own metrics in an expression; names that rules record contain a colon.
fn own_metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| OURS.iter().any(|ours| word.starts_with(ours)) && !word.contains(':'))
}
