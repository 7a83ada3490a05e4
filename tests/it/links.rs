//! Links in responses lead back through the gateway that the client has used.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Client, Program, World};

const PREFIX: (&str, &str) = ("x-forwarded-prefix", "/shop");

/// Every link that the service makes, in requests with this header.
async fn links(shop: &Client, sale: &str, buyer: &str, header: (&str, &str)) -> Vec<String> {
    let body = json!({ "buyer_id": buyer, "sale_id": sale, "items": [{ "id": "1" }] }).to_string();
    let headers = [header, ("content-type", "application/json"), ("idempotency-key", buyer)];
    let collected = shop.send_with(Method::POST, "/v2/checkouts", &headers, body).await.is(201);
    let code = collected.at("/code").as_str().unwrap().to_owned();
    let path = format!("/v2/checkouts/{code}/purchase");
    let headers = [header, ("idempotency-key", "buy")];
    let bought = shop.send(Method::POST, &path, &headers).await.is(200);
    let list = shop.send(Method::GET, "/v2/sales?limit=1", &[header]).await.is(200);
    let problem = shop.send(Method::GET, "/v2/nope", &[header]).await.is(404);
    let document = shop.send(Method::GET, "/openapi.json", &[header]).await.is(200);
    let text = |text: Option<&str>| text.unwrap().trim_start_matches('<').to_owned();
    vec![
        text(collected.header("location")),
        text(bought.header("content-location")),
        text(list.header("link")),
        text(problem.at("/type").as_str()),
        format!("{}/", text(document.at("/servers/0/url").as_str()).trim_end_matches('/')),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn links_begin_with_the_prefix_of_a_trusted_gateway() {
    let trusting = World::plan(1).set("http.trusted_proxies", "127.0.0.0/8, ::1").start().await;
    let plain = World::of(1).await;

    for (world, base) in [(&trusting, "/shop/"), (&plain, "/")] {
        let sale = world.create_sale("--items 9 --stock 9").await;
        world.create_sale("--items 1").await;
        for link in links(world.at(0), &sale, "ann", PREFIX).await {
            assert!(
                link.starts_with(base) && (base != "/" || !link.starts_with("/shop")),
                "{link}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_begin_with_the_public_url() {
    let world = World::plan(1).set("http.public_url", "https://shop.example/sale/").start().await;
    let sale = world.create_sale("--items 9").await;
    world.create_sale("--items 1").await;

    for link in links(world.at(0), &sale, "ann", PREFIX).await {
        assert!(link.starts_with("https://shop.example/sale/"), "{link}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_url_or_proxy_fails_the_start() {
    for (key, value) in [
        ("http.public_url", "shop.example"),
        ("http.public_url", "https://shop.example/?a=b"),
        ("http.trusted_proxies", "10.0.0.0/33"),
        ("http.trusted_proxies", "gateway"),
    ] {
        let ended = Program::new().set(key, value).run(&["sale", "list"]).await;
        assert_eq!(ended.code, Some(2), "{value}");
        assert!(ended.stderr.contains(key), "{value}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_whose_name_would_lead_elsewhere_in_a_path_is_refused() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let shop = world.at(0);

    for buyer in [".", ".."] {
        let refused = shop.checkout(&sale, buyer, "1").await.refuses(400, "validation_failed");
        assert_eq!(refused.at("/errors/user_id"), "must not be . or ..");
        let refused = shop.collect(&sale, buyer, &["1"], "a").await;
        let refused = refused.problem(400, "validation_failed");
        assert_eq!(refused.at("/errors/0/pointer"), "#/buyer_id");
    }
    shop.checkout(&sale, "...", "1").await.is(200);
}
