//! Requests that are hardly HTTP: wrong methods and paths, endless heads and bodies, clients that never finish a request.

use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{Wire, World, until, wire};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_gets_405_with_the_right_one() {
    let world = World::of(1).await;
    let address = world.at(0).address;

    let wrong = [
        ("GET", "/checkout", "POST"),
        ("PUT", "/checkout", "POST"),
        ("DELETE", "/v1/purchase", "POST"),
        ("ZEBRA", "/purchase", "POST"),
        ("POST", "/sales/active", "GET"),
        ("PATCH", "/sales/S-1", "GET"),
        ("POST", "/sales/S-1/items", "GET"),
        ("DELETE", "/purchases/CHK-1", "GET"),
        ("POST", "/users/ann/purchases", "GET"),
    ];
    for (method, path, right) in wrong {
        let mut wire = Wire::connect(address).await.unwrap();
        wire.send(&wire::request(method, path)).await;
        let received = wire.receive().await;
        assert_eq!(received.status, Some(405), "{method} {path}");
        assert_eq!(received.json()["code"], "method_not_allowed", "{method} {path}");
        let allow = received.head.lines().find(|line| line.to_lowercase().starts_with("allow:"));
        assert!(allow.is_some_and(|allow| allow.contains(right)), "{method} {path}: {allow:?}");
    }
    world.at(0).get("/sales/active").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_gets_404_in_json() {
    let world = World::of(1).await;
    let address = world.at(0).address;
    let long = format!("/{}", "a/".repeat(8_000));

    let wrong = [
        "/",
        "/nope",
        "/v1",
        "/v1/",
        "/v2/checkout",
        "/checkout/1",
        "/sales",
        "/sales/S-1/item",
        "/users",
        "/users/ann",
        "/purchases",
        "/../../etc/passwd",
        "/%00",
        "/%ff",
        "/%zz",
        "/v1/v1/checkout",
        &long,
    ];
    for path in wrong {
        for method in ["GET", "POST"] {
            let mut wire = Wire::connect(address).await.unwrap();
            wire.send(&wire::request(method, path)).await;
            let received = wire.receive().await;
            assert_eq!(received.status, Some(404), "{method} {path}");
            assert_eq!(received.json()["code"], "route_not_found", "{method} {path}");
        }
    }
    world.at(0).get("/sales/active").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_ten_megabytes_is_too_large() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;
    let path = format!("/checkout?user_id=ann&item_id=1&sale_id={sale}");
    let body = "x".repeat(10 * 1024 * 1024);
    let length = body.len();

    for framed in [
        format!("Content-Length: {length}\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: shop\r\n{framed}").into_bytes();
        let wire = Wire::connect(world.at(0).address).await.unwrap();
        let received = wire.exchange(request).await;
        assert_eq!(received.status, Some(413), "{}", received.head);
        assert_eq!(received.json()["code"], "payload_too_large");
    }
    world.at(0).buys(&sale, "ann", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_head_is_cut_off() {
    let world = World::of(1).await;
    let endless = "a".repeat(1024 * 1024);
    let heads = [
        format!("GET /{endless} HTTP/1.1\r\nHost: shop\r\n\r\n"),
        format!("GET /sales/active?{endless} HTTP/1.1\r\nHost: shop\r\n\r\n"),
        format!("GET /sales/active HTTP/1.1\r\nHost: shop\r\nX-Long: {endless}\r\n\r\n"),
        format!(
            "GET /sales/active HTTP/1.1\r\nHost: shop\r\n{}\r\n",
            "X-Many: 1\r\n".repeat(9_000)
        ),
        format!("GET /sales/active HTTP/1.1\r\nHost: shop\r\nX-Unfinished: {endless}"),
    ];

    for head in heads {
        let shown = head[..60].to_owned();
        let wire = Wire::connect(world.at(0).address).await.unwrap();
        let received = wire.exchange(head.into_bytes()).await;
        // 400 for what is not a head; no status if the connection was closed without a response.
        let is_refused = received.status.is_none_or(|status| [400, 414, 431].contains(&status));
        assert!(is_refused, "{shown}: {}", received.head);
        world.at(0).get("/sales/active").await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_somewhat_too_long_gets_414_or_431() {
    let world = World::of(1).await;
    let line = format!("GET /sales/active?{} HTTP/1.1\r\nHost: shop\r\n\r\n", "a".repeat(20_000));
    let header = format!(
        "GET /sales/active HTTP/1.1\r\nHost: shop\r\nX-Long: {}\r\n\r\n",
        "a".repeat(40_000)
    );

    for (head, status) in [(line, 414), (header, 431), ("NONSENSE\r\n\r\n".to_owned(), 400)] {
        let wire = Wire::connect(world.at(0).address).await.unwrap();
        let received = wire.exchange(head.into_bytes()).await;
        assert_eq!(received.status, Some(status), "{}", received.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let world = World::plan(1).set("http.idle_timeout", "1s").start().await;
    let mut wire = Wire::connect(world.at(0).address).await.unwrap();

    let whole = "GET /sales/active HTTP/1.1\r\nHost: shop\r\n\r\n";
    wire.send(format!("{whole}G").as_bytes()).await;

    assert_eq!(wire.receive().await.status, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_never_finished_ends_its_connection() {
    let world = World::plan(1)
        .set("http.header_read_timeout", "1s")
        .set("http.body_read_timeout", "1s")
        .start()
        .await;
    let unfinished = [
        "GE",
        "GET /sales/active HTTP/1.1\r\nHost: sh",
        "POST /checkout?user_id=ann&item_id=1 HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\nabc",
    ];

    for part in unfinished {
        let mut wire = Wire::connect(world.at(0).address).await.unwrap();
        assert!(wire.send(part.as_bytes()).await);
        let received = wire.receive().await;
        assert!(received.status.is_none_or(|status| status < 500), "{part}: {}", received.head);
    }
    let mut slow = Wire::connect(world.at(0).address).await.unwrap();
    assert!(slow.send(b"GET /sales/active HTTP/1.1\r\n").await);
    until("a head that never ends is cut off", async || !slow.send(b"X-Drip: 1\r\n").await).await;
    world.at(0).get("/sales/active").await.is(200);
}

/// A world in which only the time for a head can end a connection while a test waits.
async fn with_a_short_time_for_heads() -> World {
    let plan = World::plan(1).set("http.header_read_timeout", "100ms");
    plan.set("http.idle_timeout", "1h").start().await
}

/// Waits until a connection that has begun a head is closed. It sends nothing more: a head that grows would be too large at some time.
async fn is_cut_off(slow: Wire) {
    assert_eq!(slow.receive().await.status, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_outlives_the_time_for_a_head() {
    let world = with_a_short_time_for_heads().await;
    let whole = "GET /v2/sales HTTP/1.1\r\nHost: shop\r\n\r\n";
    let mut unused = Wire::connect(world.at(0).address).await.unwrap();
    let mut wire = Wire::connect(world.at(0).address).await.unwrap();
    let mut slow = Wire::connect(world.at(0).address).await.unwrap();

    for wire in [&mut wire, &mut slow] {
        assert!(wire.send(whole.as_bytes()).await);
        assert_eq!(wire.receive_one().await.status, Some(200));
    }
    // When the one that has begun a head is cut off, those that were idle for longer are not.
    assert!(slow.send(b"GET /v2/sales HTTP/1.1\r\n").await);
    is_cut_off(slow).await;

    for idle in [&mut wire, &mut unused] {
        assert!(idle.send(whole.as_bytes()).await);
        assert_eq!(idle.receive_one().await.status, Some(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_take_longer_than_the_time_for_a_head() {
    let world = with_a_short_time_for_heads().await;
    let sale = world.create_sale("--items 9").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let hold = hold_buyer(world.pool(), "ann").await;
    let mut wire = Wire::connect(world.at(0).address).await.unwrap();
    let mut slow = Wire::connect(world.at(0).address).await.unwrap();

    let purchase =
        format!("POST /purchase?code={code} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n");
    assert!(wire.send(purchase.as_bytes()).await);
    waiting(world.pool(), 1).await;
    assert!(slow.send(b"GET /v2/sales HTTP/1.1\r\n").await);
    is_cut_off(slow).await;
    hold.rollback().await.unwrap();

    assert_eq!(wire.receive_one().await.status, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_in_time() {
    let world = World::plan(1).set("http.idle_timeout", "200ms").start().await;
    let unused = Wire::connect(world.at(0).address).await.unwrap();
    let mut wire = Wire::connect(world.at(0).address).await.unwrap();

    assert!(wire.send(b"GET /v2/sales HTTP/1.1\r\nHost: shop\r\n\r\n").await);
    assert_eq!(wire.receive_one().await.status, Some(200));

    // Without a further byte, or a first one, the connection ends by itself.
    for idle in [wire, unused] {
        assert_eq!(idle.receive().await.status, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_refused_and_the_next_request_is_served() {
    let world = World::of(1).await;
    let garbage: [&[u8]; 8] = [
        b"\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /sales/active HTTP/9.9\r\nHost: shop\r\n\r\n",
        b"GET /sales/\xff\xfe HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"POST /checkout HTTP/1.1\r\nHost: shop\r\nContent-Length: nine\r\n\r\n",
        b"POST /checkout HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    ];

    for bytes in garbage {
        let wire = Wire::connect(world.at(0).address).await.unwrap();
        let received = wire.exchange(bytes.to_vec()).await;
        let status = received.status;
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{}", received.head);
        world.at(0).get("/sales/active").await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_request_is_refused() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let target = format!("POST /checkout?user_id=ann&item_id=1&sale_id={sale} HTTP/1.1\r\n");
    let host = "Host: shop\r\n";

    for lines in [
        String::new(),
        format!("{host}{host}"),
        "Host: \r\n".to_owned(),
        "Host: a b\r\n".to_owned(),
        format!("{host}Transfer-Encoding: gzip, chunked\r\n"),
        format!("{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        format!("{host}Content-Length: 3\r\nContent-Length: 4\r\n"),
    ] {
        let mut wire = Wire::connect(world.at(0).address).await.unwrap();
        let body = if lines.contains("chunked") { "0\r\n\r\n" } else { "" };
        let request = format!("{target}Connection: close\r\n{lines}\r\n{body}");
        wire.send(request.as_bytes()).await;
        let received = wire.receive().await;
        assert_eq!(received.status, Some(400), "{lines}: {} {}", received.head, received.body);
    }
    let count = "SELECT count(*) FROM checkout_attempts";
    let count: i64 = sqlx::query_scalar(count).fetch_one(world.pool()).await.unwrap();
    assert_eq!(count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent() {
    let world = World::plan(1).set("http.body_read_timeout", "5m").start().await;
    let request = "POST /v2/checkouts HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n";
    let mut wire = Wire::connect(world.at(0).address).await.unwrap();
    wire.send(request.as_bytes()).await;

    let received = wire.receive().await;

    assert_eq!(received.status, Some(413), "{}", received.head);
}
