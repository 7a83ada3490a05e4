//! Where requests must be signed, each is let in once, as it was signed, on any instance.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::client::checkout_path;
use crate::harness::{Answer, Client, World, until};
use crate::tokens::now;

/// A key of a service, as `key create` prints it.
struct Key {
    id: String,
    text: String,
}

impl Key {
    async fn create(world: &World, scopes: &str) -> Self {
        let created = world.program.run(&["key", "create", scopes, "--scopes", scopes]).await;
        let created = created.succeeded().documents().remove(0);
        let text = |name: &str| created[name].as_str().unwrap().to_owned();
        Self { id: text("id"), text: text("key") }
    }

    /// The headers that sign a request.
    fn sign(
        &self,
        seconds: i64,
        nonce: &str,
        (method, target, body): (&str, &str, &str),
    ) -> [(&'static str, String); 4] {
        let hash = hex(&Sha256::digest(body));
        let mut mac = Hmac::<Sha256>::new_from_slice(self.text.as_bytes()).unwrap();
        mac.update(format!("{seconds}.{nonce}.{method}.{target}.{hash}").as_bytes());
        [
            ("signature-key", self.id.clone()),
            ("signature-timestamp", seconds.to_string()),
            ("signature-nonce", nonce.to_owned()),
            ("signature", format!("v1={}", hex(&mac.finalize().into_bytes()))),
        ]
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

async fn post(
    client: &Client,
    target: &str,
    headers: &[(&'static str, String)],
    body: &str,
) -> Answer {
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.send_with(Method::POST, target, &headers, body.to_owned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_is_let_in_once_on_any_instance() {
    let world = World::plan(2).set("auth.signatures.required", "true").start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let key = Key::create(&world, "sell").await;
    let target = checkout_path(&sale, "ann", "1");

    let signed = key.sign(now(), "n1", ("POST", &target, ""));
    post(world.at(0), &target, &signed, "").await.is(200);
    for instance in [0, 1] {
        let replayed = post(world.at(instance), &target, &signed, "").await;
        assert_eq!(
            replayed.refuses(401, "unauthorized").at("/error"),
            "Signature-Nonce was used before"
        );
    }
    let again = key.sign(now(), "n2", ("POST", &target, ""));
    let code = post(world.at(1), &target, &again, "").await.checkout_code();
    let target = format!("/purchase?code={code}");
    post(world.at(0), &target, &key.sign(now(), "n3", ("POST", &target, "")), "").await.is(200);
    world.at(0).get("/sales/active").await.is(200);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_another_time_and_another_key_are_refused() {
    let world = World::plan(1).set("auth.signatures.required", "true").start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let (key, reader) = (Key::create(&world, "sell").await, Key::create(&world, "read").await);
    let target = checkout_path(&sale, "ann", "1");
    let request = ("POST", target.as_str(), "");
    let mut forged = key.sign(now(), "n1", request);
    forged[0].1.clone_from(&reader.id);

    for (headers, detail) in [
        (key.sign(now(), "n1", ("GET", &target, "")), "Signature is not that of this request"),
        (key.sign(now(), "n1", ("POST", &target, "x")), "Signature is not that of this request"),
        (
            key.sign(now(), "n1", ("POST", &checkout_path(&sale, "bob", "1"), "")),
            "Signature is not that of this request",
        ),
        (forged, "Signature is not that of this request"),
        (
            key.sign(now() - 400, "n1", request),
            "Signature-Timestamp is more than five minutes from the service's clock",
        ),
        (
            key.sign(now() + 400, "n1", request),
            "Signature-Timestamp is more than five minutes from the service's clock",
        ),
    ] {
        let refused = post(world.at(0), &target, &headers, "").await.refuses(401, "unauthorized");
        assert_eq!(refused.at("/error"), detail);
    }
    world.at(0).post(&target).await.refuses(401, "unauthorized");
    let headers = reader.sign(now(), "n1", request);
    post(world.at(0), &target, &headers, "").await.refuses(403, "forbidden");

    // The body is signed too: that of version 2, and that of version 1, which nothing reads.
    let body = json!({ "buyer_id": "ann", "sale_id": sale, "items": [{ "id": "1" }] }).to_string();
    let mut headers = key.sign(now(), "n1", ("POST", "/v2/checkouts", &body)).to_vec();
    headers.extend([
        ("content-type", "application/json".to_owned()),
        ("idempotency-key", "k".to_owned()),
    ]);
    let changed = body.replace("ann", "eve");
    post(world.at(0), "/v2/checkouts", &headers, &changed).await.problem(401, "unauthorized");
    post(world.at(0), "/v2/checkouts", &headers, &body).await.is(201);
    let headers = key.sign(now(), "n2", ("POST", &target, "some"));
    post(world.at(0), &target, &headers, "other").await.refuses(401, "unauthorized");
    post(world.at(0), &target, &headers, "some").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_an_instance_refuses_what_it_has_seen() {
    let plan = World::plan(1).set("auth.signatures.required", "true").private_redis();
    let world = plan.start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let key = Key::create(&world, "sell").await;
    let target = checkout_path(&sale, "ann", "1");
    let before = key.sign(now(), "n1", ("POST", &target, ""));
    post(world.at(0), &target, &before, "").await.is(200);

    world.redis_server.as_ref().unwrap().run("kill-redis");
    until("the instance knows that Redis is away", async || {
        world.instances[0].monitor.get("/healthz").await.body.contains("degraded")
    })
    .await;

    let after = key.sign(now(), "n2", ("POST", &target, ""));
    post(world.at(0), &target, &after, "").await.is(200);
    for replayed in [before, after] {
        post(world.at(0), &target, &replayed, "").await.refuses(401, "unauthorized");
    }
}
