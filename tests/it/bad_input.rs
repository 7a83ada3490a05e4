//! Bad parameters: each request gets a 4xx that names every bad field, and the next request is served.

use reqwest::Method;

use crate::harness::{Answer, Client, Wire, World, wire};

/// Queries of a checkout, and the fields that the response must name.
const CHECKOUTS: &str = r"
 -> item_id user_id
user_id=ann -> item_id
item_id=1 -> user_id
user_id=&item_id= -> item_id user_id
user_id&item_id -> item_id user_id
user_id=&item_id=&quantity= -> item_id quantity user_id
user_id=ann&user_id=ann&item_id=1 -> user_id
user_id=ann&user_id=bob&item_id=1 -> user_id
user_id=ann&item_id=1&item_id=2 -> item_id
user_id=ann&item_id=1&quantity=1&quantity=1 -> quantity
user_id=ann&item_id=1&quantity=0 -> quantity
user_id=ann&item_id=1&quantity=-1 -> quantity
user_id=ann&item_id=1&quantity=1.5 -> quantity
user_id=ann&item_id=1&quantity=1e1 -> quantity
user_id=ann&item_id=1&quantity=0x1 -> quantity
user_id=ann&item_id=1&quantity=%201 -> quantity
user_id=ann&item_id=1&quantity=one -> quantity
user_id=ann&item_id=1&quantity=%C2%B2 -> quantity
user_id=ann&item_id=1&quantity=NaN -> quantity
user_id=ann&item_id=1&quantity=4294967297 -> quantity
user_id=ann&item_id=1&quantity=99999999999999999999999 -> quantity
user_id=a%20b&item_id=1 -> user_id
user_id=%00&item_id=1 -> user_id
user_id=ann%00&item_id=1 -> user_id
user_id=ann%0A&item_id=1 -> user_id
user_id=ann%7F&item_id=1 -> user_id
user_id=%C3%A9&item_id=1 -> user_id
user_id=%ff&item_id=1 -> user_id
user_id=%zz&item_id=1 -> user_id
user_id=%&item_id=1 -> user_id
user_id=%4&item_id=1 -> user_id
user_id=ann&item_id=%00 -> item_id
user_id=ann&item_id=1%00 -> item_id
user_id=ann&item_id=%0D%0A -> item_id
user_id=ann&item_id=%ff -> item_id
user_id=ann&item_id=%c3%28 -> item_id
user_id=ann&item_id=%zz -> item_id
user_id=ann&item_id=1% -> item_id
user_id=%00&item_id=%00&quantity=0 -> item_id quantity user_id
user_id=%ff&item_id=%zz&quantity=-9 -> item_id quantity user_id
";

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_checkout_names_every_bad_field_and_the_next_request_is_served() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;
    let long = "x".repeat(10_000);
    let long = [
        (format!("user_id={long}&item_id=1"), "user_id"),
        (format!("user_id={}&item_id=1", "x".repeat(129)), "user_id"),
        (format!("user_id=ann&item_id={long}"), "item_id"),
        (format!("user_id=ann&item_id={}", "x".repeat(65)), "item_id"),
        (format!("user_id=ann&item_id=1&quantity={}", "1".repeat(10_000)), "quantity"),
    ];

    for line in CHECKOUTS.lines().filter(|line| !line.is_empty()) {
        let (query, fields) = line.split_once(" -> ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        assert_names(world.at(0), &format!("/checkout?{query}&sale_id={sale}"), &fields).await;
    }
    for (query, field) in long {
        assert_names(world.at(0), &format!("/checkout?{query}&sale_id={sale}"), &[field]).await;
    }

    world.at(0).buys(&sale, "ann", "1").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quantity_beyond_the_limit_is_a_bad_request() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5 --stock 50").await;

    for pieces in [11, 50, 51, 1_000_000] {
        let answer = world.at(0).checkout_pieces(&sale, "ann", "1", pieces).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    world.at(0).checkout_pieces(&sale, "ann", "1", 10).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_code_or_sale_id_is_a_client_error_everywhere() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;
    let long = "A".repeat(10_000);
    let bad = ["%00", "%ff", "%zz", "%", "%0D%0A", "%C3%A9", "S-", "S-0", "S-l", "-", "..", &long];

    for query in ["", "?code=", "?code", "?code=a&code=a"] {
        assert_names(world.at(0), &format!("/purchase{query}"), &["code"]).await;
    }
    for text in bad {
        let answers = [
            world.at(0).post(&format!("/purchase?code={text}")).await,
            world.at(0).post(&format!("/purchase?code=CHK-{sale}-{text}")).await,
            world.at(0).get(&format!("/purchases/CHK-{text}")).await,
            world.at(0).post(&format!("/checkout?user_id=a&item_id=1&sale_id={text}")).await,
            world.at(0).get(&format!("/sales/S{text}")).await,
            world.at(0).get(&format!("/sales/S{text}/items")).await,
            world.at(0).get(&format!("/users/a/purchases?sale_id={text}")).await,
        ];
        for answer in answers {
            assert_client_error(&answer, text);
        }
    }
    world.at(0).get("/users/%00/purchases").await.refuses(400, "validation_failed");
    world.at(0).get("/users/%ff/purchases").await.refuses(400, "validation_failed");
    world.at(0).buys(&sale, "ann", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_paging_names_every_bad_field() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;

    for list in [format!("/sales/{sale}/items"), "/users/ann/purchases".to_owned()] {
        for bad in ["", "0", "-1", "1.5", "x", "%00", "%ff", "1&page=1", "99999999999999999999"] {
            assert_names(world.at(0), &format!("{list}?page={bad}"), &["page"]).await;
        }
        for bad in ["", "0", "-1", "101", "1e1", "%zz", "1&limit=1", "99999999999999999999"] {
            assert_names(world.at(0), &format!("{list}?limit={bad}"), &["limit"]).await;
        }
        assert_names(world.at(0), &format!("{list}?limit=101&page=0"), &["limit", "page"]).await;
    }
    let items = format!("/sales/{sale}/items");
    for bad in ["", "maybe", "%00", "true&available=true"] {
        assert_names(world.at(0), &format!("{items}?available={bad}"), &["available"]).await;
    }
    let all = format!("{items}?available=x&limit=x&page=x");
    assert_names(world.at(0), &all, &["available", "limit", "page"]).await;
}

/// Sends a path without encoding it. Fails the test unless the response names exactly these fields and the next request is served.
async fn assert_names(client: &Client, path: &str, fields: &[&str]) {
    let method =
        if path.starts_with("/checkout") || path.starts_with("/purchase") { "POST" } else { "GET" };
    let mut wire = Wire::connect(client.address).await.unwrap();
    assert!(wire.send(&wire::request(method, path)).await);
    let received = wire.receive().await;
    let response = received.json();
    assert_eq!(received.status, Some(400), "{path}: {response}");
    assert_eq!(response["code"], "validation_failed", "{path}: {response}");
    assert!(
        response["message"].as_str().is_some_and(|text| !text.is_empty()),
        "{path}: {response}"
    );
    let errors = response["errors"].as_object().cloned().unwrap_or_default();
    let mut named: Vec<&str> = errors.keys().map(String::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, fields, "{path}: {response}");
    client.send(Method::GET, "/sales/active", &[]).await.is(200);
}

#[track_caller]
fn assert_client_error(answer: &Answer, sent: &str) {
    assert!((400..500).contains(&answer.status), "{sent}: {} {}", answer.status, answer.body);
    let response = answer.json();
    for field in ["message", "code"] {
        assert!(
            response[field].as_str().is_some_and(|text| !text.is_empty()),
            "{sent}: {response}"
        );
    }
}
