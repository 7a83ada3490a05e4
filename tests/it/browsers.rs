//! Headers for browsers: who may read responses, and how pages are protected. And compressed lists.

use reqwest::Method;
use serde_json::Value;

use crate::harness::client::builder;
use crate::harness::{Answer, World};

async fn of_origin(world: &World, method: Method, path: &str, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "idempotency-key"),
    ];
    let sent = if method == Method::OPTIONS { &headers[..] } else { &headers[..1] };
    world.at(0).send(method, path, sent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_named_origins_may_read_answers_and_no_others() {
    let shops = "https://shop.example, http://localhost:3000";
    let world = World::plan(1)
        .set("http.cors.origins", shops)
        .set("http.cors.max_age", "10m")
        .start()
        .await;
    let sale = world.create_sale("--items 9").await;
    let line = "/v2/checkouts/CHK-1/items/1";

    for origin in ["https://shop.example", "http://localhost:3000"] {
        let preflight = of_origin(&world, Method::OPTIONS, line, origin).await.is(200);
        assert_eq!(preflight.header("access-control-allow-origin"), Some(origin));
        assert_eq!(preflight.header("access-control-max-age"), Some("600"));
        for (header, expected) in [("allow-methods", "PUT"), ("allow-headers", "idempotency-key")] {
            let value = preflight.header(&format!("access-control-{header}")).unwrap();
            assert!(value.contains(expected), "{value}");
        }
        // Also where a request bypasses the router, and where it is refused.
        let checkout = format!("/checkout?user_id=ann&item_id=1&sale_id={sale}");
        for (method, path, status) in [
            (Method::GET, "/v2/sales/active", 200),
            (Method::POST, &checkout, 200),
            (Method::GET, line, 405),
            (Method::GET, "/nope", 404),
            (Method::GET, "/v9/sales", 400),
        ] {
            let answer = of_origin(&world, method, path, origin).await.is(status);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{path}");
            let readable = answer.header("access-control-expose-headers").unwrap();
            assert!(
                readable.contains("idempotent-replayed") && readable.contains("etag"),
                "{path}"
            );
            assert!(answer.header("vary").unwrap().contains("origin"), "{path}");
        }
    }
    for origin in ["https://shop.example.evil", "https://evil", "null", "http://shop.example"] {
        let answer = of_origin(&world, Method::GET, "/v2/sales/active", origin).await.is(200);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        let preflight = of_origin(&world, Method::OPTIONS, line, origin).await;
        assert_eq!(preflight.header("access-control-allow-origin"), None, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_no_other_origin_may_read_and_with_a_star_all_may() {
    let closed = World::of(1).await;
    let open = World::plan(1).set("http.cors.origins", "*").start().await;

    for (world, expected) in [(&closed, None), (&open, Some("*"))] {
        let answer = of_origin(world, Method::GET, "/v2/sales", "https://other.example").await;
        assert_eq!(answer.is(200).header("access-control-allow-origin"), expected);
    }
    of_origin(&closed, Method::OPTIONS, "/v2/sales", "https://other.example").await.is(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_logged_in_or_traced_may_send_its_headers() {
    let origin = "https://shop.example";
    let world = World::plan(1)
        .set("http.cors.origins", origin)
        .set("http.cors.headers", "X-Shop-Session")
        .start()
        .await;

    for header in ["authorization", "traceparent", "tracestate", "baggage", "x-shop-session"] {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", header),
        ];
        let preflight = world.at(0).send(Method::OPTIONS, "/v2/checkouts", &headers).await.is(200);
        let allowed = preflight.header("access-control-allow-headers").unwrap();
        assert!(allowed.split(',').any(|allowed| allowed == header), "{header}: {allowed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_origin_fails_the_start() {
    for origins in
        ["shop.example", "https://shop.example/path", "https://a, *", "https://SHOP.example"]
    {
        let program = crate::harness::Program::new().set("http.cors.origins", origins);
        let ended = program.run(&["sale", "list"]).await;
        assert_eq!(ended.code, Some(2), "{origins}");
        assert!(ended.stderr.contains("http.cors.origins"), "{origins}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_protected_and_what_belongs_to_a_buyer_is_not_stored() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let checkout = format!("/checkout?user_id=ann&item_id=1&sale_id={sale}");
    let of_data = "default-src 'none'; frame-ancestors 'none'";

    for (method, path, cached) in [
        (Method::POST, checkout.as_str(), "no-store"),
        (Method::POST, "/purchase?code=nonsense", "no-store"),
        (Method::GET, &format!("/v2/checkouts/{code}"), "no-store"),
        (Method::GET, "/v2/buyers/ann/purchases", "no-store"),
        (Method::GET, "/users/ann/purchases", "no-store"),
        (Method::GET, "/sales/active", "no-store"),
        (Method::GET, "/v2/sales", "no-cache"),
        (Method::GET, "/nope", "no-store"),
        (Method::GET, "/v9/x", "no-store"),
        (Method::GET, "/health", "no-store"),
    ] {
        let answer = world.at(0).send(method, path, &[]).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("content-security-policy"), Some(of_data), "{path}");
        assert_eq!(answer.header("cache-control"), Some(cached), "{path}");
        assert_eq!(answer.header("strict-transport-security"), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_are_compressed_for_clients_that_accept_it() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 100").await;
    let url = |path: &str| format!("http://{}{path}", world.at(0).address);
    let items = format!("/v2/sales/{sale}/items?limit=100");
    let plain = world.at(0).get(&items).await.is(200);
    assert_eq!(plain.header("content-encoding"), None);

    for (coding, client) in [("gzip", builder().no_zstd()), ("zstd", builder().no_gzip())] {
        let client = client.build().unwrap();
        for path in [&items, &format!("/v1/sales/{sale}/items?limit=100")] {
            let raw =
                world.at(0).send(Method::GET, path, &[("accept-encoding", coding)]).await.is(200);
            assert_eq!(raw.header("content-encoding"), Some(coding), "{path}");
            assert!(raw.header("vary").unwrap().contains("accept-encoding"), "{path}");
            let unpacked: Value = client.get(url(path)).send().await.unwrap().json().await.unwrap();
            assert_eq!(unpacked["data"].as_array().unwrap().len(), 100);
        }
        let tag = plain.header("etag").unwrap();
        let again = [("accept-encoding", coding), ("if-none-match", tag)];
        assert_eq!(world.at(0).send(Method::GET, &items, &again).await.is(304).body, "");
        world.at(0).send(Method::HEAD, &items, &[("accept-encoding", coding)]).await.is(200);
    }
    // A client that refuses uncompressed responses gets them all the same, because the effect has happened.
    let code = world.at(0).collects(&sale, "ann", "1").await;
    for coding in ["identity;q=0", "*;q=0", "br;q=1, identity;q=0"] {
        let headers = [("accept-encoding", coding), ("idempotency-key", "k")];
        let path = format!("/v2/checkouts/{code}/purchase");
        let bought = world.at(0).send(Method::POST, &path, &headers).await.is(200);
        assert_eq!(bought.header("content-encoding"), None, "{coding}");
        world.at(0).send(Method::GET, "/v2/sales/S-99", &headers).await.is(404);
        world.at(0).send(Method::GET, "/health", &headers).await.is(200);
    }
    // Short responses are not compressed, nor is any for a client that does not want it.
    for (path, coding) in [
        ("/v2/sales/active", "gzip"),
        (&*items, "br"),
        (&*items, "gzip;q=0"),
        (&*items, "identity"),
    ] {
        let answer =
            world.at(0).send(Method::GET, path, &[("accept-encoding", coding)]).await.is(200);
        assert_eq!(answer.header("content-encoding"), None, "{path} {coding}");
    }
}
