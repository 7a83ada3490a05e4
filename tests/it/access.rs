//! With tokens, a buyer is the sub of a token, and has what is theirs and nothing else.

#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::harness::{Answer, Client, PATIENCE, Program, World, eventually};
use crate::tokens::{Issuer, RSA_PUBLIC_KEY, key_set, now};

/// Instances that accept the tokens of an issuer.
async fn world_of(instances: usize, issuers: &[&Issuer]) -> World {
    let file = std::env::temp_dir().join(format!("keys-{}.json", uuid::Uuid::now_v7()));
    std::fs::write(&file, key_set(issuers)).unwrap();
    // Commands read it too, so it stays until the folder of the tests goes.
    let plan = World::plan(instances).set("auth.buyers", "jwt");
    plan.set("auth.jwt.jwks_file", file.to_str().unwrap()).start().await
}

/// A buyer with a token at an instance.
struct Shopper<'w> {
    shop: &'w Client,
    authorization: String,
}

impl<'w> Shopper<'w> {
    fn new(shop: &'w Client, token: &str) -> Self {
        Self { shop, authorization: format!("Bearer {token}") }
    }

    async fn send(&self, method: Method, path: &str) -> Answer {
        self.send_with(method, path, "").await
    }

    async fn send_with(&self, method: Method, path: &str, body: &str) -> Answer {
        let key = uuid::Uuid::now_v7().to_string();
        let mut headers =
            vec![("authorization", self.authorization.as_str()), ("idempotency-key", &key)];
        headers.extend((!body.is_empty()).then_some(("content-type", "application/json")));
        self.shop.send_with(method, path, &headers, body.to_owned()).await
    }

    async fn post(&self, path: &str) -> Answer {
        self.send(Method::POST, path).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_with_a_token_buys_without_saying_who_it_is() {
    let issuer = Issuer::es256("a");
    let world = world_of(2, &[&issuer]).await;
    let sale = world.create_sale("--items 9").await;
    let ann = |instance| Shopper::new(world.at(instance), &issuer.token_for("ann"));

    let path = format!("/checkout?item_id=1&sale_id={sale}");
    let code = ann(0).post(&path).await.checkout_code();
    ann(1).post(&format!("{path}&user_id=ann")).await.is(200);
    ann(1).post(&format!("/purchase?code={code}")).await.is(200);
    let body = json!({ "sale_id": sale, "items": [{ "id": "2" }] }).to_string();
    let collected = ann(0).send_with(Method::POST, "/v2/checkouts", &body).await.is(201);
    assert_eq!(collected.at("/buyer_id"), "ann");
    let code = collected.at("/code").as_str().unwrap().to_owned();
    let checkout = format!("/v2/checkouts/{code}");
    ann(1).get(&checkout).await.is(200);
    let item = format!("{checkout}/items/3");
    ann(0).send_with(Method::PUT, &item, r#"{"quantity":1}"#).await.is(201);
    ann(1).send(Method::DELETE, &item).await.is(200);
    ann(0).post(&format!("{checkout}/purchase")).await.is(200);
    for path in ["/users/ann/purchases", "/v2/buyers/ann/purchases?page=1"] {
        let purchases = ann(1).get(path).await.is(200);
        assert_eq!(purchases.at("/pagination/total_items"), 2, "{path}");
    }
    ann(0).get(&format!("/purchases/{code}")).await.is(200);
    world.verify().await;
}

/// Every request that is about a buyer, for a code of that buyer.
fn requests(sale: &str, buyer: &str, code: &str) -> Vec<(Method, String, String)> {
    let v2 = json!({ "buyer_id": buyer, "sale_id": sale, "items": [{ "id": "5" }] }).to_string();
    let checkout = format!("/v2/checkouts/{code}");
    let without_body = [
        (Method::GET, format!("/purchases/{code}")),
        (Method::GET, format!("/v2/purchases/{code}")),
        (Method::GET, checkout.clone()),
        (Method::GET, format!("/users/{buyer}/purchases")),
        (Method::GET, format!("/v2/buyers/{buyer}/purchases")),
        (Method::POST, format!("/checkout?user_id={buyer}&item_id=5&sale_id={sale}")),
        (Method::DELETE, format!("{checkout}/items/1")),
        (Method::POST, format!("/purchase?code={code}")),
        (Method::POST, format!("/v1/purchase?code={code}")),
        (Method::POST, format!("{checkout}/purchase")),
    ];
    let mut requests: Vec<_> =
        without_body.into_iter().map(|(method, path)| (method, path, String::new())).collect();
    requests.push((Method::POST, "/v2/checkouts".to_owned(), v2));
    requests.push((Method::PUT, format!("{checkout}/items/5"), r#"{"quantity":1}"#.to_owned()));
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_buyer_can_be_read_changed_or_bought() {
    let issuer = Issuer::es256("a");
    let world = world_of(2, &[&issuer]).await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let ann = Shopper::new(world.at(0), &issuer.token_for("ann"));
    let bob = |instance| Shopper::new(world.at(instance), &issuer.token_for("bob"));
    let code = ann.post(&format!("/checkout?item_id=1&sale_id={sale}")).await.checkout_code();

    // Here the checkout is remembered, there it has to be read.
    for instance in [0, 1] {
        for (method, path, body) in requests(&sale, "ann", &code) {
            let refused = bob(instance).send_with(method, &path, &body).await;
            assert_eq!(refused.status_and_code(), (403, "not_your_checkout".to_owned()), "{path}");
        }
    }
    let checkout = ann.get(&format!("/v2/checkouts/{code}")).await.is(200);
    assert_eq!((checkout.at("/items/0/id"), checkout.at("/items/1")), (json!("1"), json!(null)));
    ann.post(&format!("/purchase?code={code}")).await.is(200);
    for instance in [0, 1] {
        for path in [format!("/purchase?code={code}"), format!("/v2/checkouts/{code}/purchase")] {
            bob(instance).post(&path).await.is(403);
        }
        for path in [format!("/purchases/{code}"), format!("/v2/purchases/{code}")] {
            bob(instance).get(&path).await.is(403);
        }
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_for_another_buyer_does_not_disturb_those_in_the_same_batch() {
    let issuer = Issuer::ed25519("a");
    let world = world_of(1, &[&issuer]).await;
    let sale = world.create_sale("--items 40 --stock 1").await;
    let mut codes = Vec::new();
    for number in 0..40 {
        let buyer = Shopper::new(world.at(0), &issuer.token_for(&format!("buyer-{number}")));
        let path = format!("/checkout?item_id={}&sale_id={sale}", number + 1);
        codes.push(buyer.post(&path).await.checkout_code());
    }

    let purchases = codes.iter().enumerate().flat_map(|(number, code)| {
        let own = format!("buyer-{number}");
        ["mallory".to_owned(), own].map(|buyer| {
            let shopper = Shopper::new(world.at(0), &issuer.token_for(&buyer));
            let expected = if buyer == "mallory" { 403 } else { 200 };
            async move { (shopper.post(&format!("/purchase?code={code}")).await.status, expected) }
        })
    });
    let answered = futures_util::future::join_all(purchases).await;

    for (status, expected) in answered {
        // A purchase under way is not looked into.
        assert!(status == expected || status == 409, "{status} {expected}");
    }
    world.sells_exactly(&sale, 40).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_only_what_is_public_is_answered() {
    let (issuer, stranger) = (Issuer::es256("a"), Issuer::es256("a"));
    let rsa = Issuer::rs256("r");
    let world = world_of(1, &[&issuer, &rsa]).await;
    let sale = world.create_sale("--items 9").await;
    let ann = Shopper::new(world.at(0), &issuer.token_for("ann"));
    let code = ann.post(&format!("/checkout?item_id=1&sale_id={sale}")).await.checkout_code();
    let claims = json!({ "sub": "ann", "exp": now() + 600 });
    let expired = issuer.token(&json!({ "sub": "ann", "exp": now() - 600 }));
    let confused = Issuer::hs256("r", RSA_PUBLIC_KEY.as_bytes()).token(&claims);

    for (method, path, body) in requests(&sale, "ann", &code) {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
        let refused = world.at(0).send_with(method, &path, &headers, body).await;
        assert_eq!(refused.status_and_code(), (401, "unauthorized".to_owned()), "{path}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"flash-sale\""));
    }
    let path = format!("/checkout?user_id=ann&item_id=1&sale_id={sale}");
    for (token, detail) in [
        (expired, "the token has expired"),
        (stranger.token(&claims), "the token is not valid"),
        (rsa.token_with(&json!({ "alg": "none", "kid": "r" }), &claims), "the token is not valid"),
        (confused, "the token is not valid"),
        (
            issuer.token_with(&json!({ "alg": "ES256", "kid": "../../etc/passwd" }), &claims),
            "the token is signed by an unknown key",
        ),
        (issuer.token_for("two words"), "the token's sub is not the id of a buyer"),
        ("x".repeat(20_000), "the token is not valid"),
    ] {
        let refused = Shopper::new(world.at(0), &token).post(&path).await;
        let refused = refused.refuses(401, "unauthorized");
        assert_eq!(refused.at("/error"), detail);
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.contains(&format!("error_description=\"{detail}\"")), "{challenge}");
        let refused = Shopper::new(world.at(0), &token).get("/v2/buyers/ann/purchases").await;
        assert_eq!(refused.problem(401, "unauthorized").at("/detail"), detail);
    }
    // The connection may break before the answer is read.
    let bearer = format!("Bearer {}", "x".repeat(100_000));
    let headers = [("authorization", bearer.as_str())];
    let too_long = world.at(0).attempt_with(Method::POST, &path, &headers, String::new()).await;
    assert!(too_long.is_none_or(|answer| answer.status == 431));
    for path in ["/sales/active", "/v2/sales", "/health", "/openapi.json", "/problems/unauthorized"]
    {
        world.at(0).get(path).await.is(200);
    }
    let metrics = world.metrics(0).await;
    for outcome in ["missing", "expired", "invalid", "unknown_key", "no_buyer", "accepted"] {
        let labels = ["kind=\"token\"", &format!("outcome=\"{outcome}\"")];
        assert!(metrics.sum("flash_sale_auth_total", &labels) > 0.0, "{outcome}");
    }
    ann.post(&format!("/purchase?code={code}")).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_and_the_fast_path_refuse_alike() {
    let issuer = Issuer::es256("a");
    let world = world_of(1, &[&issuer]).await;
    let sale = world.create_sale("--items 9").await;
    let path = format!("/checkout?user_id=bob&item_id=1&sale_id={sale}");
    let bearer = format!("Bearer {}", issuer.token_for("ann"));

    // A body makes version 1 go through the router.
    for body in ["", "x"] {
        let headers = [("authorization", bearer.as_str())];
        let other = world.at(0).send_with(Method::POST, &path, &headers, body).await;
        other.refuses(403, "not_your_checkout");
        let none = world.at(0).send_with(Method::POST, &path, &[], body).await;
        none.refuses(401, "unauthorized");
        let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
        world.at(0).send_with(Method::POST, &path, &twice, body).await.is(401);
    }
}

/// A server with a key set, which the test replaces.
async fn key_server() -> (String, Arc<Mutex<String>>) {
    let keys = Arc::new(Mutex::new(String::new()));
    let served = Arc::clone(&keys);
    let serve = get(async move || served.lock().unwrap().clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys?x=1", listener.local_addr().unwrap());
    let routes = Router::new().route("/keys", serve);
    TaskTracker::new().spawn(async move { axum::serve(listener, routes).await });
    (url, keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_downloaded_and_a_new_one_is_found_by_its_first_token() {
    let (old, new) = (Issuer::es256("old"), Issuer::ed25519("new"));
    let (url, keys) = key_server().await;
    *keys.lock().unwrap() = key_set(&[&old]);
    let plan = World::plan(2).set("auth.buyers", "jwt").set("auth.jwt.jwks_url", &url);
    let world = plan.start().await;
    let sale = world.create_sale("--items 9").await;
    let path = format!("/checkout?item_id=1&sale_id={sale}");
    Shopper::new(world.at(0), &old.token_for("ann")).post(&path).await.is(200);

    *keys.lock().unwrap() = key_set(&[&old, &new]);
    for instance in [0, 1] {
        Shopper::new(world.at(instance), &new.token_for("bob")).post(&path).await.is(200);
    }

    // A flood of unknown keys downloads nothing more, and an answer that is no key set takes no key away.
    *keys.lock().unwrap() = "x".repeat(100_000);
    for _ in 0..20 {
        Shopper::new(world.at(0), &Issuer::es256("?").token_for("eve")).post(&path).await.is(401);
    }
    Shopper::new(world.at(0), &new.token_for("bob")).post(&path).await.is(200);
    let metrics = world.metrics(0).await;
    let readings = |outcome| metrics.sum("flash_sale_token_key_readings_total", &[outcome]);
    assert!(readings("changed") == 2.0 && readings("failed") <= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_at_the_start_is_waited_for() {
    let issuer = Issuer::es256("a");
    let (url, keys) = key_server().await;
    let plan = World::plan(1).set("auth.buyers", "jwt").set("auth.jwt.jwks_url", &url);
    let world = plan.start().await;
    let sale = world.create_sale("--items 9").await;
    let path = format!("/checkout?item_id=1&sale_id={sale}");
    let ann = Shopper::new(world.at(0), &issuer.token_for("ann"));
    ann.post(&path).await.refuses(401, "unauthorized");

    *keys.lock().unwrap() = key_set(&[&issuer]);

    let accepted = eventually("the keys are read", async || {
        let answer = ann.post(&path).await;
        (answer.status != 401).then_some(answer)
    });
    tokio::time::timeout(PATIENCE, accepted).await.unwrap().is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_fails_the_start() {
    for (settings, expected) in [
        (vec![("auth.buyers", "jwt")], "jwt needs keys"),
        (vec![("auth.buyers", "oauth")], "must be one of none, jwt"),
        (vec![("auth.buyers", "jwt"), ("auth.jwt.hmac_secret", "short")], "at least 32 bytes"),
        (vec![("auth.buyers", "jwt"), ("auth.jwt.algorithms", "none")], "auth.jwt.algorithms"),
        (
            vec![("auth.buyers", "jwt"), ("auth.jwt.jwks_url", "file:///etc/passwd")],
            "auth.jwt.jwks_url",
        ),
        (vec![("auth.buyers", "jwt"), ("auth.jwt.jwks_file", "/nowhere")], "auth.jwt.jwks_file"),
        (vec![("limits.buyer", "20 per second")], "20/s burst 40"),
        (vec![("limits.trusted_proxies", "gateway")], "limits.trusted_proxies"),
        (vec![("limits.routes", "/checkout 5/s")], "like POST /checkout 500/s burst 1000"),
        (vec![("limits.routes", "GET /sales 5/s, GET /sales 6/s")], "names GET /sales twice"),
    ] {
        let ended = Program::new().set_all(&settings).run(&["sale", "list"]).await;
        assert_eq!(ended.code, Some(2), "{settings:?}");
        assert!(ended.stderr.contains(expected), "{settings:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("short\n"), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_production_without_tokens_is_warned_of() {
    let mut world = World::plan(0).start().await;
    world.program = world
        .program
        .clone()
        .variable("FLASH_SALE_ENV", "production")
        .set("http.host", "127.0.0.1")
        .set("monitoring.host", "127.0.0.1")
        .set("checkout.code_keys", "k1:MDEyMzQ1Njc4OWFiY2RlZg==");

    world.start(1).await;

    let log = world.instances[0].process.stderr.text();
    assert!(log.contains("auth.buyers is none"), "{log}");
}
