//! Traces: what a collector receives, which context is taken over, and that a collector that fails costs buyers nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use opentelemetry_proto::tonic::trace::v1::Span;
use reqwest::Method;
use tokio::net::TcpListener;

use crate::harness::client::{checkout_path, purchase_path};
use crate::harness::collector::{Collector, attribute, hex};
use crate::harness::endpoint::Endpoint;
use crate::harness::world::Plan;
use crate::harness::{Answer, Storm, World, at_once, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{PARENT}-{flags}")
}

fn plan(endpoint: &str, ratio: &str) -> Plan {
    World::plan(1)
        .set("telemetry.otlp.endpoint", endpoint)
        .set("telemetry.sample_ratio", ratio)
        .set("telemetry.service_name", "shop")
}

async fn post(world: &World, path: &str, parent: &str) -> Answer {
    world.at(0).send(Method::POST, path, &[("traceparent", parent)]).await
}

/// The names of a trace's spans, each below the name of its parent.
fn tree(spans: &[Span]) -> BTreeSet<(String, String)> {
    let name_of = |id: &[u8]| {
        let parent = spans.iter().find(|span| span.span_id == id);
        parent.map_or_else(|| hex(id), |span| span.name.clone())
    };
    spans.iter().map(|span| (name_of(&span.parent_span_id), span.name.clone())).collect()
}

fn contains(tree: &BTreeSet<(String, String)>, parent: &str, name: &str) -> bool {
    tree.contains(&(parent.to_owned(), name.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyers_trace_has_the_use_case_its_batch_its_statements_and_its_scripts() {
    let collector = Collector::start().await;
    let world = plan(&collector.endpoint(), "0")
        .set("telemetry.otlp.headers", "authorization=Bearer secret")
        .set("log.requests", "all")
        .start()
        .await;
    let sale = world.create_sale("--items 5").await;
    let (checkout, purchase) = (TRACE, "1af7651916cd43dd8448eb211c80319c");
    let reading = "2af7651916cd43dd8448eb211c80319c";

    let path = checkout_path(&sale, "ann", "1");
    let code = post(&world, &path, &traceparent(checkout, "01")).await.checkout_code();
    post(&world, &purchase_path(&code), &traceparent(purchase, "01")).await.is(200);
    let headers = [("traceparent", &*traceparent(reading, "01"))];
    world.at(0).send(Method::GET, &format!("/v1/sales/{sale}"), &headers).await.is(200);

    until("all spans have arrived", async || {
        let has_root = |trace| {
            let spans = collector.trace(trace);
            spans.iter().any(|span| hex(&span.parent_span_id) == PARENT)
        };
        [checkout, purchase, reading].into_iter().all(has_root)
    })
    .await;
    let checkout_spans = collector.trace(checkout);
    let checkout = tree(&checkout_spans);
    assert!(contains(&checkout, PARENT, "POST /checkout"), "{checkout:#?}");
    assert!(contains(&checkout, "POST /checkout", "checkout"), "{checkout:#?}");
    assert!(contains(&checkout, "checkout", "batch checkout"), "{checkout:#?}");
    assert!(contains(&checkout, "batch checkout", "write_checkouts"), "{checkout:#?}");
    let purchase = tree(&collector.trace(purchase));
    assert!(contains(&purchase, "POST /purchase", "purchase"), "{purchase:#?}");
    assert!(contains(&purchase, "purchase", "batch lock"), "{purchase:#?}");
    assert!(contains(&purchase, "batch lock", "the lock on a code"), "{purchase:#?}");
    assert!(contains(&purchase, "purchase", "batch purchase"), "{purchase:#?}");
    assert!(contains(&purchase, "batch purchase", "write_purchases"), "{purchase:#?}");
    let reading = tree(&collector.trace(reading));
    assert!(contains(&reading, "GET /sales/{sale_id}", "browse"), "{reading:#?}");
    let root = checkout_spans.iter().find(|span| span.name == "POST /checkout").unwrap();
    let of_root = |name| attribute(&root.attributes, name);
    assert_eq!(of_root("http.response.status_code").as_deref(), Some("200"));
    assert_eq!(of_root("http.route").as_deref(), Some("/checkout"));
    assert_eq!(collector.resource("service.name").as_deref(), Some("shop"));
    assert_eq!(collector.header("authorization").as_deref(), Some("Bearer secret"));
    let everything = format!("{:?}", collector.spans());
    for secret in [&code, "ann"] {
        assert!(!everything.contains(secret), "{secret} is in a span");
    }
    let lines = world.instances[0].process.stderr.records();
    let logged = lines.iter().find(|line| line["trace_id"] == TRACE).unwrap();
    assert_eq!((&logged["message"], &logged["status"]), (&"request".into(), &200.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_operators_and_jobs_have_spans_with_their_statements() {
    let collector = Collector::start().await;
    let plan = World::plan(0)
        .set("telemetry.otlp.endpoint", &collector.endpoint())
        .set("telemetry.sample_ratio", "1")
        .set("jobs.enabled", "true");
    let (world, ports) = World::planned_with_admin(plan, 1).await;
    let sale = world.create_sale("--items 5").await;
    let operator = world.operators(&ports).await.remove(0);

    operator.get("/admin/sales").await.is(200);
    let restock = serde_json::json!({ "pieces": 3 });
    let path = format!("/admin/sales/{sale}/items/1/restock");
    operator.ask(Method::POST, &path, &restock).await.is(200);
    world.prints("schedule run prune-keys").await;

    let below = async |root: &'static str, use_case: &'static str| {
        until(&format!("{root} has a span {use_case} with a statement"), async || {
            let spans = collector.spans();
            let is_below = |span: &Span, above: &Span| span.parent_span_id == above.span_id;
            spans.iter().filter(|span| span.name == use_case).any(|span| {
                let has_statement = spans.iter().any(|one| is_below(one, span));
                let is_under = |above: &Span| above.name.starts_with(root) && is_below(span, above);
                has_statement && (root.is_empty() || spans.iter().any(is_under))
            })
        })
        .await;
    };
    below("GET /admin/sales", "browse").await;
    below("POST /admin/sales", "operate").await;
    below("", "job prune_keys").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_linked_to_all_its_callers() {
    let collector = Collector::start().await;
    let world = plan(&collector.endpoint(), "1").start().await;
    let sale = world.create_sale("--items 200 --stock 100").await;

    // Until some of them meet in one batch.
    let batch = {
        let mut round = 0;
        loop {
            round += 1;
            at_once((0..40).map(|buyer| {
                let (client, sale) = (world.at(0).clone(), sale.clone());
                let (buyer, item) = (format!("{round}-{buyer}"), (buyer + 1).to_string());
                async move { client.checkout(&sale, &buyer, &item).await.is(200) }
            }))
            .await;
            let is_shared = |span: &Span| span.name == "batch checkout" && span.links.len() > 1;
            if let Some(batch) = collector.spans().into_iter().find(is_shared) {
                break batch;
            }
        }
    };

    let linked: BTreeSet<String> = batch.links.iter().map(|link| hex(&link.span_id)).collect();
    assert_eq!(linked.len(), batch.links.len());
    assert_eq!(
        attribute(&batch.attributes, "flash_sale.requests"),
        Some(batch.links.len().to_string())
    );
    until("the callers have arrived", async || {
        let spans = collector.spans();
        linked
            .iter()
            .all(|id| spans.iter().any(|span| hex(&span.span_id) == *id && span.name == "checkout"))
    })
    .await;
    let spans = collector.spans();
    let callers = spans.iter().filter(|span| linked.contains(&hex(&span.span_id)));
    // Those of other traces find the batch by a link.
    let (below, linking): (Vec<&Span>, Vec<&Span>) =
        callers.partition(|caller| caller.span_id == batch.parent_span_id);
    assert_eq!(below.len(), 1);
    for caller in linking {
        assert!(caller.links.iter().any(|link| link.span_id == batch.span_id), "{caller:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_context_is_ignored_and_a_new_trace_begins() {
    let collector = Collector::start().await;
    let world = plan(&collector.endpoint(), "1").start().await;
    let sale = world.create_sale("--items 5").await;
    let path = checkout_path(&sale, "ann", "1");
    let zero = traceparent(&"0".repeat(32), "01");
    let long = format!("01-{}", "a".repeat(6_000));
    let hostile = [
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-xxxxxxxxxxxxxxxx-01",
        "",
        &zero,
        &long,
    ];

    for parent in hostile {
        post(&world, &path, parent).await.is(200);
    }
    let valid = traceparent(TRACE, "01");
    let twice = [("traceparent", &*valid), ("traceparent", &*valid)];
    world.at(0).send(Method::POST, &path, &twice).await.is(200);
    // Longer than a head may be: the limit of HTTP comes first.
    let huge = "a".repeat(100_000);
    let headers = [("traceparent", &*huge)];
    let answer = world.at(0).attempt_with(Method::POST, &path, &headers, String::new()).await;
    assert!(answer.is_none_or(|answer| answer.status == 431));

    let roots = || {
        let mut spans = collector.spans();
        spans.retain(|span| span.name == "POST /checkout");
        spans
    };
    until("all have a trace", async || roots().len() == hostile.len() + 1).await;
    let traces: BTreeSet<String> = roots().iter().map(|span| hex(&span.trace_id)).collect();
    assert_eq!(traces.len(), hostile.len() + 1);
    assert!(roots().iter().all(|span| span.parent_span_id.is_empty()), "{:#?}", roots());
    assert!(!traces.contains(TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_has_decided_holds() {
    let collector = Collector::start().await;
    let world = plan(&collector.endpoint(), "1").set("log.requests", "all").start().await;
    let sale = world.create_sale("--items 5").await;
    let path = checkout_path(&sale, "ann", "1");

    post(&world, &path, &traceparent(TRACE, "00")).await.is(200);
    world.at(0).post(&path).await.is(200);

    until("the undecided one has arrived", async || {
        collector.spans().iter().any(|span| span.name == "POST /checkout")
    })
    .await;
    assert!(collector.trace(TRACE).is_empty());
    let lines = world.instances[0].process.stderr.records();
    assert!(lines.iter().any(|line| line["trace_id"] == TRACE), "the log names the caller's trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_passed_on_and_webhooks_carry_a_context() {
    let (collector, endpoint) = (Collector::start().await, Endpoint::start().await);
    let world = plan(&collector.endpoint(), "1")
        .set("jobs.enabled", "true")
        .set("webhooks.allow_private", "true")
        .start()
        .await;
    endpoint.is_added_by(&world.program).await;
    let sale = world.create_sale("--items 5").await;
    let headers = [("traceparent", &*traceparent(TRACE, "01")), ("tracestate", "vendor=1,b=2")];
    let path = checkout_path(&sale, "ann", "1");
    let code = world.at(0).send(Method::POST, &path, &headers).await.checkout_code();
    world.at(0).purchase(&code).await.is(200);

    until("an event was delivered in a trace of its own", async || {
        let spans = collector.spans();
        endpoint.contexts().iter().any(|context| {
            let parts: Vec<&str> = context.split('-').collect();
            let [version, trace, span, flags] = *parts else { panic!("{context}") };
            assert_eq!((version, flags), ("00", "01"));
            spans.iter().any(|sent| {
                sent.name == "webhook"
                    && (hex(&sent.trace_id), hex(&sent.span_id)) == (trace.into(), span.into())
            })
        })
    })
    .await;
    until("the caller's trace has arrived", async || !collector.trace(TRACE).is_empty()).await;
    let traced = collector.trace(TRACE);
    assert!(traced.iter().all(|span| span.trace_state == "vendor=1,b=2"), "{traced:#?}");
}

/// A port on which no process listens.
async fn no_listener() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_buyers_nothing_and_what_it_misses_is_counted() {
    let world = plan(&no_listener().await, "1").start().await;
    let sale = world.create_sale("--items 400").await;

    let receipts = Storm::over(&world.clients(), &sale, 400).receipts().await;

    assert!(receipts.iter().any(|receipt| receipt.answer.status == 200));
    until("the queue is full, and further spans are counted", async || {
        for buyer in 0..50 {
            world.at(0).checkout(&sale, &format!("late-{buyer}"), "1").await;
        }
        let metrics = world.metrics(0).await;
        metrics.sum("flash_sale_spans_dropped_total", &["reason=\"queue_full\""]) > 0.0
    })
    .await;
    let log = world.instances[0].process.stderr.text();
    assert_eq!(log.matches("the collector takes no spans").count(), 1);
    let mut world = world;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_slow_refuses_or_rejects_is_counted_and_logged_once() {
    let collector = Collector::start().await;
    let world =
        plan(&collector.endpoint(), "1").set("telemetry.otlp.timeout", "50ms").start().await;
    let sale = world.create_sale("--items 5").await;
    let path = checkout_path(&sale, "ann", "1");
    let refused = async || {
        let metrics = world.metrics(0).await;
        metrics.sum("flash_sale_spans_dropped_total", &["reason=\"collector\""])
    };

    collector.answer_with(StatusCode::BAD_REQUEST);
    world.at(0).post(&path).await.is(200);
    until("refused spans are counted", async || refused().await > 0.0).await;
    collector.answer_after(Duration::from_secs(1));
    let before = collector.exports();
    world.at(0).post(&path).await.is(200);
    until("the slow one is asked again", async || collector.exports() > before + 1).await;
    collector.answer_after(Duration::ZERO);
    collector.answer_with(StatusCode::OK);
    until("spans arrive again", async || !collector.spans().is_empty()).await;
    let before = refused().await;
    collector.reject(2);
    world.at(0).post(&path).await.is(200);

    until("rejected spans are counted", async || refused().await >= before + 2.0).await;
    let log = world.instances[0].process.stderr.text();
    assert_eq!(log.matches("the collector takes no spans").count(), 1);
    assert_eq!(log.matches("the collector takes spans again").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_at_the_stop() {
    let collector = Collector::start().await;
    let mut world = plan(&collector.endpoint(), "1").start().await;
    let sale = world.create_sale("--items 5").await;

    world.at(0).checkout(&sale, "ann", "1").await.is(200);
    world.stop().await;

    assert!(collector.spans().iter().any(|span| span.name == "POST /checkout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_the_metrics_leads_to_a_trace() {
    let collector = Collector::start().await;
    let world = plan(&collector.endpoint(), "0").start().await;
    let sale = world.create_sale("--items 5").await;
    let path = checkout_path(&sale, "ann", "1");
    post(&world, &path, &traceparent(TRACE, "01")).await.is(200);
    let accept = [("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];

    let monitor = &world.instances[0].monitor;
    let openmetrics = monitor.send(Method::GET, "/metrics", &accept).await.is(200);
    let text = monitor.get("/metrics").await.is(200);

    assert!(
        openmetrics
            .header("content-type")
            .unwrap()
            .starts_with(accept[0].1.split(';').next().unwrap())
    );
    let exemplar = format!("# {{trace_id=\"{TRACE}\",span_id=\"");
    let is_bucket = |line: &&str| {
        line.starts_with("http_request_duration_seconds_bucket{method=\"POST\",route=\"/checkout\"")
    };
    assert!(openmetrics.body.lines().filter(is_bucket).any(|line| line.contains(&exemplar)));
    assert!(openmetrics.body.ends_with("# EOF\n"));
    assert!(!text.body.contains(TRACE) && !text.body.contains("# EOF"));
}
