//! Bad bodies: each request gets a problem that names the place, and has no effect.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, World};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(world: &World, media_type: Option<&str>, body: impl Into<Vec<u8>>) -> Answer {
    let mut headers = vec![("idempotency-key", "k")];
    headers.extend(media_type.map(|media_type| ("content-type", media_type)));
    world.at(0).send_with(Method::POST, "/v2/checkouts", &headers, body.into()).await
}

/// The places of the body that the problem names.
fn pointers(answer: &Answer) -> BTreeSet<String> {
    let errors = answer.at("/errors");
    let errors = errors.as_array().unwrap().iter();
    errors.filter_map(|error| error["pointer"].as_str().map(str::to_owned)).collect()
}

async fn checkouts(world: &World) -> i64 {
    let count = "SELECT count(*) FROM checkout_attempts";
    sqlx::query_scalar(count).fetch_one(world.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_refused_whole() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let good = json!({ "buyer_id": "ann", "sale_id": sale, "items": [{ "id": "1" }] }).to_string();
    let lists = "[".repeat(30_000);
    let objects = r#"{"items":"#.repeat(6_000);
    let twice = good.replacen("\"buyer_id\"", "\"buyer_id\":\"bob\",\"buyer_id\"", 1);
    let inner = good.replacen("\"id\"", "\"id\":\"2\",\"id\"", 1);
    let mut broken: Vec<Vec<u8>> = [
        "", "{", "null", "[]", "7", "\"x\"", "{} {}", "{'a': 1}", &lists, &objects, &twice, &inner,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    for end in [1, good.len() / 2, good.len() - 1] {
        broken.push(good.as_bytes()[..end].to_vec());
    }
    broken.push(b"{\"buyer_id\": \"\xff\"}".to_vec());
    broken.push(vec![0; 100]);

    for body in broken {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let refused = post(&world, Some("application/json"), body).await;
        let refused = refused.problem(400, "validation_failed");
        assert_eq!(pointers(&refused), BTreeSet::from(["#".to_owned()]), "{shown}");
    }
    assert_eq!(checkouts(&world).await, 0);
    post(&world, Some("application/json"), good).await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_of_the_wrong_kind_is_named_at_once() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let long = "x".repeat(10_000);
    for (body, expected) in [
        (json!({}), &["#/buyer_id", "#/items"][..]),
        (
            json!({ "buyer_id": 1, "sale_id": [], "items": {} }),
            &["#/buyer_id", "#/items", "#/sale_id"],
        ),
        (
            json!({ "buyer_id": null, "sale_id": null, "items": null }),
            &["#/buyer_id", "#/items", "#/sale_id"],
        ),
        (json!({ "buyer_id": "a b", "items": [] }), &["#/buyer_id", "#/items"]),
        (
            json!({ "buyer_id": "a\u{0}b", "items": [{ "id": "1\u{0}" }] }),
            &["#/buyer_id", "#/items/0/id"],
        ),
        (json!({ "buyer_id": long, "items": [{ "id": long }] }), &["#/buyer_id", "#/items/0/id"]),
        (
            json!({ "buyer_id": "ann", "items": [1, "1", {}, { "id": "" }] }),
            &["#/items/0", "#/items/1", "#/items/2/id", "#/items/3/id"],
        ),
        (
            json!({ "buyer_id": "ann", "items": [{ "id": "1", "quantity": "2" }, { "id": "2", "quantity": 0 }, { "id": "3", "quantity": 1.5 }, { "id": "4", "quantity": true }] }),
            &[
                "#/items/0/quantity",
                "#/items/1/quantity",
                "#/items/2/quantity",
                "#/items/3/quantity",
            ],
        ),
        (json!({ "buyer_id": "ann", "items": [{ "id": "1" }, { "id": "1" }] }), &["#/items"]),
        (
            json!({ "buyer_id": "ann", "items": [{ "id": "1", "quantitiy": 2 }], "coupon": 1 }),
            &["#", "#/items/0"],
        ),
        (json!({ "buyer_id": "ann", "items": vec![json!({ "id": "1" }); 101] }), &["#/items"]),
    ] {
        let refused = post(&world, Some("application/json"), body.to_string()).await;
        let refused = refused.problem(400, "validation_failed");
        let expected: BTreeSet<_> = expected.iter().map(|place| (*place).to_owned()).collect();
        assert_eq!(pointers(&refused), expected, "{body}");
    }
    let huge =
        json!({ "buyer_id": "ann", "sale_id": sale, "items": [{ "id": "1", "quantity": 1e300 }] });
    let refused = post(&world, Some("application/json"), huge.to_string()).await;
    assert_eq!(
        pointers(&refused.problem(400, "validation_failed")),
        BTreeSet::from(["#/items/0/quantity".to_owned()])
    );
    let gone = json!({ "buyer_id": "ann", "sale_id": "S-none", "items": [{ "id": "1" }] });
    post(&world, Some("application/json"), gone.to_string()).await.problem(404, "sale_not_found");
    assert_eq!(checkouts(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_declared_as_json_or_is_too_large_is_refused() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let good = json!({ "buyer_id": "ann", "sale_id": sale, "items": [{ "id": "1" }] }).to_string();
    for media_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonp"),
        Some(""),
    ] {
        let refused = post(&world, media_type, good.clone()).await;
        refused.problem(415, "unsupported_media_type");
    }
    let encoded = [JSON, ("idempotency-key", "k"), ("content-encoding", "gzip")];
    let refused =
        world.at(0).send_with(Method::POST, "/v2/checkouts", &encoded, good.clone()).await;
    refused.problem(415, "unsupported_media_type");
    let padded = format!("{good}{}", " ".repeat(70_000));
    post(&world, Some("application/json"), padded).await.problem(413, "payload_too_large");
    assert_eq!(checkouts(&world).await, 0);

    // Version 1 ignores the body.
    let v1 = format!("/v1/checkout?user_id=ann&item_id=1&sale_id={sale}");
    world.at(0).send_with(Method::POST, &v1, &[JSON], "{").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quantity_in_a_body_is_parsed_as_strictly() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 99").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let line = format!("/v2/checkouts/{code}/items/1");
    let put = async |body: &str| {
        world.at(0).send_with(Method::PUT, &line, &[JSON], body.to_owned()).await
    };

    for (body, place) in [
        ("{}", "#/quantity"),
        (r#"{"quantity": 0}"#, "#/quantity"),
        (r#"{"quantity": 11}"#, "#/quantity"),
        (r#"{"quantity": "1"}"#, "#/quantity"),
        (r#"{"quantity": 1, "id": "1"}"#, "#"),
        (r#"{"quantity": 1"#, "#"),
    ] {
        let refused = put(body).await.problem(400, "validation_failed");
        assert_eq!(pointers(&refused), BTreeSet::from([place.to_owned()]), "{body}");
    }
    put(r#"{"quantity": 3.0}"#).await.is(200);
    assert_eq!(world.at(0).get(&format!("/v2/checkouts/{code}")).await.at("/pieces"), 3);
    for item in ["%00", "%ff", &"x".repeat(65)] {
        let line = format!("/v2/checkouts/{code}/items/{item}");
        let refused =
            world.at(0).send_with(Method::PUT, &line, &[JSON], r#"{"quantity": 1}"#).await;
        refused.problem(400, "validation_failed");
    }
}
