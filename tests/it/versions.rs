//! Two versions of the API side by side: which one serves a request, and what version 2 returns.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Client, Wire, World};

const NUMBERS: [&str; 2] = ["1", "2"];

async fn get(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.send(Method::GET, path, headers).await
}

/// The version that a response names.
fn version(answer: &Answer) -> &str {
    answer.header("api-version").unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_or_a_header_selects_the_version_and_every_answer_names_it() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 3").await;
    let client = world.at(0);
    let path = format!("/sales/{sale}");
    let two = ("api-version", "2");
    let media_type = ("accept", "application/vnd.flash-sale.v2+json");

    for (prefix, header, expected) in [
        ("", None, "1"),
        ("", Some(two), "2"),
        ("", Some(media_type), "2"),
        ("", Some(("accept", "application/vnd.flash-sale.v1+json")), "1"),
        ("/v1", Some(two), "1"),
        ("/v2", Some(("api-version", "1")), "2"),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let answer = get(client, &format!("{prefix}{path}"), &headers).await.is(200);
        assert_eq!(version(&answer), expected, "{prefix} {header:?}");
        let id = if expected == "2" { "/id" } else { "/sale_id" };
        assert_eq!(answer.at(id), sale, "{prefix} {header:?}: {}", answer.body);
        let depends = answer.header("vary").is_some_and(|vary| vary.contains("api-version"));
        assert_eq!(depends, prefix.is_empty(), "{prefix} {header:?}");
    }
    let bought = client.checkout(&sale, "ann", "1").await.is(200);
    assert_eq!(version(&bought), "1");
    let refused = client.post("/checkout?user_id=&item_id=1").await.is(400);
    assert_eq!(version(&refused), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_exist_is_refused_with_those_that_do() {
    let world = World::of(1).await;
    let client = world.at(0);

    let asked: [(&str, &[(&str, &str)]); 5] = [
        ("/v3/sales/active", &[]),
        ("/v0/checkout", &[]),
        ("/sales/active", &[("api-version", "3")]),
        ("/sales/active", &[("api-version", "")]),
        ("/sales/active", &[("accept", "application/vnd.flash-sale.v7+json")]),
    ];
    for (path, headers) in asked {
        let answer = get(client, path, headers).await.refuses(400, "unsupported_version");
        assert_eq!(answer.at("/supported"), json!(NUMBERS), "{path} {headers:?}");
        assert!(answer.header("x-request-id").is_some());
    }
    let twice = [("api-version", "1"), ("api-version", "2")];
    let answer = get(client, "/sales/active", &twice).await.refuses(400, "validation_failed");
    assert!(answer.at("/errors/Api-Version").is_string(), "{}", answer.body);
    let checkout =
        client.send(Method::POST, "/checkout?user_id=a&item_id=1", &[("api-version", "9")]);
    checkout.await.refuses(400, "unsupported_version");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_versions_that_do_not_exist_too() {
    let world = World::of(1).await;
    let client = world.at(0);
    let long = format!("/v3/{}", "x".repeat(20_000));
    get(client, &long, &[]).await.refuses(414, "uri_too_long");
    for body in [1_000, 200_000] {
        let mut bytes =
            format!("POST /v3/checkout HTTP/1.1\r\nHost: shop\r\nContent-Length: {body}\r\n\r\n")
                .into_bytes();
        bytes.extend(vec![b'x'; body]);
        let received = Wire::connect(client.address).await.unwrap().exchange(bytes).await;
        let expected = if body > 65_536 { 413 } else { 400 };
        assert_eq!(received.status, Some(expected), "{}", received.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_version_is_the_same_whatever_version_is_requested() {
    let world = World::plan(1).set("http.v1.deprecated_at", "2027-01-01T00:00:00Z").start().await;
    let media_type = ("accept", "application/vnd.flash-sale.v2+json");
    for path in ["/health", "/problems/", "/problems/sale_not_found"] {
        for header in [("api-version", "2"), ("api-version", "9"), media_type] {
            let answer = get(world.at(0), path, &[header]).await.is(200);
            assert!(answer.header("deprecation").is_none(), "{path} {header:?}");
            let varies = answer.header("vary").unwrap_or_default();
            assert!(!varies.contains("api-version"), "{path} {header:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_version_two_are_problems_whose_types_are_pages() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 3").await;
    let client = world.at(0);
    let long = "x".repeat(20_000);

    let asked = [
        (Method::GET, "/v2/nothing".to_owned(), 404, "route_not_found"),
        (Method::GET, "/v2/".to_owned(), 404, "route_not_found"),
        (Method::GET, "/v2".to_owned(), 404, "route_not_found"),
        (Method::POST, "/v2/sales/active".to_owned(), 405, "method_not_allowed"),
        (Method::GET, "/v2/sales/S-ZZZ".to_owned(), 404, "sale_not_found"),
        (Method::GET, "/v2/purchases/CHK-nonsense".to_owned(), 404, "code_not_found"),
        (
            Method::GET,
            format!("/v2/sales/{sale}/items?limit=101&available=x"),
            400,
            "validation_failed",
        ),
        (Method::GET, "/v2/buyers/a%00b/purchases?page=0".to_owned(), 400, "validation_failed"),
        (Method::GET, format!("/v2/sales/{long}"), 414, "uri_too_long"),
    ];
    for (method, path, status, code) in asked {
        let answer = client.send(method, &path, &[]).await.is(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(version(&answer), "2", "{path}");
        assert_eq!(answer.at("/code"), code, "{path}");
        assert_eq!(answer.at("/status"), status, "{path}");
        assert!(answer.at("/title").is_string(), "{path}");
        let page = client.get(answer.at("/type").as_str().unwrap()).await.is(200);
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "{path}");
        assert!(page.body.contains(code), "{path}");
    }
    let both = client.get(&format!("/v2/sales/{sale}/items?limit=101&available=x")).await;
    let faults = both.at("/errors");
    let named: Vec<_> =
        faults.as_array().unwrap().iter().map(|fault| &fault["parameter"]).collect();
    assert_eq!(named, ["available", "limit"]);
    client.get("/problems/").await.is(200);
    client.get("/problems/nothing").await.refuses(404, "route_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn version_two_reads_what_version_one_reads() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 3 --stock 2").await;
    let client = world.at(0);
    let code = client.collects(&sale, "ann", "3").await;
    client.collects(&sale, "ann", "1").await;
    client.get(&format!("/v2/purchases/{code}")).await.is(404);
    client.purchase(&code).await.is(200);

    let one = client.get(&format!("/v2/sales/{sale}")).await.is(200);
    assert_eq!(one.at("/pieces"), json!({ "sold": 2, "remaining": 4 }));
    assert_eq!((one.at("/state"), one.at("/items")), (json!("open"), json!(3)));
    let active = client.get("/v2/sales/active").await.is(200);
    assert_eq!(active.at("/data/0/id"), sale);
    let items = client.get(&format!("/v2/sales/{sale}/items?limit=2&page=2")).await.is(200);
    assert_eq!(items.at("/data/0/pieces"), json!({ "stock": 2, "remaining": 1 }));
    assert_eq!(items.at("/data/0/id"), "3");
    assert_eq!(items.at("/pagination/total_items"), 3);

    let purchase = client.get(&format!("/v2/purchases/{code}")).await.is(200);
    assert_eq!((purchase.at("/buyer_id"), purchase.at("/pieces_bought")), (json!("ann"), json!(2)));
    let lines = purchase.at("/items");
    let bought: Vec<_> =
        lines.as_array().unwrap().iter().map(|line| (&line["id"], &line["outcome"])).collect();
    assert_eq!(bought, [(&json!("1"), &json!("sold")), (&json!("3"), &json!("sold"))]);
    let history = client.get("/v2/buyers/ann/purchases").await.is(200);
    assert_eq!(history.at("/data/0"), purchase.json());
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_version() {
    let world = World::of(1).await;
    let counted = async |version: &str| {
        let labels = ["route=\"/sales/active\"", &format!("version=\"{version}\"")];
        world.metrics(0).await.sum("http_requests_total", &labels)
    };
    let before = [counted("1").await, counted("2").await];

    world.at(0).get("/v1/sales/active").await.is(200);
    for _ in 0..2 {
        world.at(0).get("/v2/sales/active").await.is(200);
    }

    let grown = [counted("1").await - before[0], counted("2").await - before[1]];
    assert!(grown[0] > 0.5 && grown[0] < 1.5 && grown[1] > 1.5 && grown[1] < 2.5, "{grown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_version_one_is_announced_to_its_callers_alone() {
    let world = World::plan(1)
        .set("http.v1.deprecated_at", "2027-01-01T00:00:00Z")
        .set("http.v1.sunset_at", "2027-07-01T00:00:00Z")
        .set("http.v1.link", "https://shop.example.com/v1")
        .start()
        .await;
    let sale = world.create_sale("--items 1").await;

    for path in ["/sales/active", "/v1/sales/active"] {
        let answer = world.at(0).get(path).await.is(200);
        assert_eq!(answer.header("deprecation"), Some("@1798761600"));
        assert_eq!(answer.header("sunset"), Some("Thu, 01 Jul 2027 00:00:00 GMT"));
        assert!(answer.header("link").unwrap().contains("rel=\"deprecation\""));
    }
    let checkout = world.at(0).checkout(&sale, "ann", "1").await.is(200);
    assert!(checkout.header("sunset").is_some());
    assert!(world.at(0).get("/v2/sales/active").await.is(200).header("sunset").is_none());
}
