//! The id that identifies a request in the log.

use reqwest::Method;

use crate::harness::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_request_id_is_returned_unchanged() {
    let world = World::of(1).await;

    for id in ["abc-123", "0190b5a2-7c3e-7f00-8000-0123456789ab", "trace_42"] {
        for path in ["/sales/active", "/nope", "/checkout"] {
            let answer = world.at(0).send(Method::GET, path, &[("x-request-id", id)]).await;
            assert_eq!(answer.header("x-request-id"), Some(id), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_request_id_is_replaced() {
    let world = World::of(1).await;
    let long = "x".repeat(5_000);

    for id in ["", "a b", "<script>", "{\"a\":1}", "a\"b", &long] {
        let answer = world.at(0).send(Method::GET, "/sales/active", &[("x-request-id", id)]).await;
        let made = answer.header("x-request-id").unwrap();
        assert!(!made.is_empty() && made != id, "{id}");
    }
    let one = world.at(0).get("/sales/active").await;
    let other = world.at(0).get("/sales/active").await;
    assert_ne!(one.header("x-request-id").unwrap(), other.header("x-request-id").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_request_under_its_id_with_the_contracts_fields() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;

    let path = format!("/sales/{sale}");
    world.at(0).send(Method::GET, &path, &[("x-request-id", "find-me")]).await.is(200);

    let record = eventually("the request is in the log", async || {
        let records = world.instances[0].process.stderr.records();
        records.into_iter().find(|record| record["request_id"] == "find-me")
    })
    .await;
    for field in ["timestamp", "level", "message", "service", "instance", "route"] {
        assert!(record[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {record}");
    }
    assert_eq!(record["status"], 200, "{record}");
    assert!(record["elapsed_ms"].is_number(), "{record}");
    assert!(!record.to_string().contains(&sale), "a route is a template: {record}");
}
