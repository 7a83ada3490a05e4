//! A buyer changes and buys only what was shown: entity tags, expected items, all or nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, World};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A world of two instances, and ann's checkout of items 1 and 2 in a sale of single pieces.
async fn with_checkout() -> (World, String, String) {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 9").await;
    let collected = world.at(0).collect(&sale, "ann", &["1", "2"], "a").await.is(201);
    (world, sale, collected.at("/code").as_str().unwrap().to_owned())
}

async fn buy_on(shop: &Client, code: &str, key: &str, terms: &Value) -> Answer {
    let path = format!("/v2/checkouts/{code}/purchase");
    shop.write(Method::POST, &path, key, terms).await
}

/// A request to the checkout with `If-Match`.
async fn matching(shop: &Client, method: Method, path: &str, (key, tag): (&str, &str)) -> Answer {
    let body =
        if method == Method::PUT { json!({ "quantity": 1 }).to_string() } else { String::new() };
    let mut headers = vec![("idempotency-key", key), ("if-match", tag)];
    headers.extend((method == Method::PUT).then_some(JSON));
    shop.send_with(method, path, &headers, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_was_changed_elsewhere_is_not_bought() {
    let (world, sale, code) = with_checkout().await;
    let (here, there) = (world.at(0), world.at(1));
    let shown = json!({ "expected": [{ "id": "2" }, { "id": "1", "quantity": 1 }] });
    there.collect(&sale, "ann", &["3"], "b").await.is(200);

    buy_on(here, &code, "c", &shown).await.problem(409, "checkout_changed");

    here.get(&format!("/v2/purchases/{code}")).await.problem(404, "not_purchased");
    here.send(Method::DELETE, &format!("/v2/checkouts/{code}/items/3"), &[]).await.is(200);
    // Nothing was stored under the key either.
    let bought = buy_on(here, &code, "c", &shown).await.is(200);
    assert_eq!(bought.at("/pieces_bought"), 2);
    let other = json!({ "expected": [{ "id": "9" }] });
    let repeated = buy_on(there, &code, "d", &other).await.is(200);
    assert_eq!(repeated.body, bought.body);
    buy_on(there, &code, "c", &other).await.problem(422, "idempotency_key_reused");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_or_nothing_buys_nothing_if_an_item_is_gone() {
    let (world, sale, code) = with_checkout().await;
    let shop = world.at(0);
    world.at(1).buys(&sale, "bob", "2").await;
    let all = json!({ "all_or_nothing": true });

    let refused = buy_on(shop, &code, "b", &all).await.problem(409, "items_unavailable");

    assert_eq!(refused.at("/items"), json!(["2"]));
    assert_eq!(shop.get(&format!("/v2/checkouts/{code}")).await.is(200).at("/state"), "open");
    shop.send(Method::DELETE, &format!("/v2/checkouts/{code}/items/2"), &[]).await.is(200);
    let bought = buy_on(shop, &code, "b", &all).await.is(200);
    assert_eq!(bought.at("/pieces_bought"), 1);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_and_a_purchase_with_an_old_tag_do_nothing() {
    let (world, sale, code) = with_checkout().await;
    let (here, there) = (world.at(0), world.at(1));
    let place = format!("/v2/checkouts/{code}");
    let first = here.get(&place).await.is(200);
    let old = first.header("etag").unwrap().to_owned();
    let changed = there.collect(&sale, "ann", &["3"], "b").await.is(200);
    let new = changed.header("etag").unwrap().to_owned();
    assert_ne!(old, new);
    assert_eq!(here.get(&place).await.header("etag"), Some(&*new));

    let requests = [
        (Method::PUT, format!("{place}/items/4")),
        (Method::DELETE, format!("{place}/items/1")),
        (Method::POST, format!("{place}/purchase")),
    ];
    for (method, path) in &requests {
        let refused = matching(here, method.clone(), path, ("c", &old)).await;
        refused.problem(412, "precondition_failed");
    }
    assert_eq!(here.get(&place).await.is(200).body, changed.body);
    let put = matching(here, Method::PUT, &requests[0].1, ("d", &new)).await.is(201);
    let tag = put.header("etag").unwrap().to_owned();
    let deleted = matching(there, Method::DELETE, &requests[1].1, ("e", &tag)).await.is(200);
    // Proxies that compress weaken a tag.
    let tag = format!("W/{}", deleted.header("etag").unwrap());
    let bought = matching(there, Method::POST, &requests[2].1, ("f", &tag)).await.is(200);
    assert_eq!(bought.at("/pieces_bought"), 3);
    // A repeat gets the outcome, although the checkout is not what it was.
    let again = matching(here, Method::POST, &requests[2].1, ("f", &tag)).await.is(200);
    assert_eq!(again.body, bought.body);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_a_client_has_already_is_not_sent_again() {
    let (world, _, code) = with_checkout().await;
    let place = format!("/v2/checkouts/{code}");
    let tag = world.at(0).get(&place).await.is(200).header("etag").unwrap().to_owned();

    let same = world.at(1).send(Method::GET, &place, &[("if-none-match", &tag)]).await.is(304);

    assert_eq!((same.header("etag"), &*same.body), (Some(&*tag), ""));
    world.at(0).buy(&code, "b").await.is(200);
    world.at(1).send(Method::GET, &place, &[("if-none-match", &tag)]).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_purchase_is_read_strictly() {
    let (world, _, code) = with_checkout().await;
    let shop = world.at(0);

    for (body, pointer) in [
        (json!({ "expect": [] }), "#"),
        (json!({ "expected": [] }), "#/expected"),
        (json!({ "expected": [{ "id": "1" }, { "id": "1" }] }), "#/expected"),
        (json!({ "expected": [{ "quantity": 1 }] }), "#/expected/0/id"),
        (json!({ "all_or_nothing": "yes" }), "#/all_or_nothing"),
        (json!([]), "#"),
    ] {
        let refused = buy_on(shop, &code, "b", &body).await.problem(400, "validation_failed");
        assert_eq!(refused.at("/errors/0/pointer"), pointer, "{body}");
    }
    let path = format!("/v2/checkouts/{code}/purchase");
    let headers = [("idempotency-key", "b"), ("content-type", "text/plain")];
    let refused = shop.send_with(Method::POST, &path, &headers, "all".to_owned()).await;
    refused.problem(415, "unsupported_media_type");
    shop.buy(&code, "b").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_when_the_sale_starts_and_how_much_is_left_of_the_limit() {
    let world = World::of(1).await;
    let shop = world.at(0);
    let early = world.create_sale("--items 9 --starts-in 100s").await;
    let sale = world.create_sale("--items 9 --buyer-limit 3").await;
    let first = shop.collect(&sale, "ann", &["1", "2"], "a").await.is(201);
    shop.buy(first.at("/code").as_str().unwrap(), "b").await.is(200);
    let third = shop.collect(&sale, "ann", &["3"], "c").await.is(201);

    let over = shop.collect(&sale, "ann", &["4"], "d").await.problem(400, "user_limit_exceeded");
    let over_v1 = shop.checkout(&sale, "ann", "4").await.refuses(400, "user_limit_exceeded");
    let soon = shop.collect(&early, "ann", &["1"], "e").await.problem(409, "sale_not_started");
    let soon_v1 = shop.checkout(&early, "ann", "1").await.refuses(409, "sale_not_started");
    let none =
        shop.post(&format!("/checkout?user_id=ann&item_id=1&quantity=0&sale_id={sale}")).await;
    let body =
        json!({ "buyer_id": "ann", "sale_id": sale, "items": [{ "id": "1", "quantity": 0 }] });
    let none_v2 = shop.write(Method::POST, "/v2/checkouts", "z", &body).await;
    let third = third.at("/code");
    let path = format!("/v2/checkouts/{}/items/3", third.as_str().unwrap());
    let set = shop.write(Method::PUT, &path, "y", &json!({ "quantity": 0 })).await;

    let starts_at = world.sale(&early).await["starts_at"].clone();
    for over in [over, over_v1] {
        assert_eq!(
            (over.at("/limit"), over.at("/bought"), over.at("/collected")),
            (json!(3), json!(2), json!(1))
        );
    }
    for soon in [soon, soon_v1] {
        assert_eq!(soon.at("/starts_at"), starts_at);
        let seconds: u32 = soon.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=100).contains(&seconds), "{seconds}");
        assert!(soon.header("server-time").is_some());
    }
    let none = none.refuses(400, "validation_failed");
    assert_eq!(none.at("/errors/quantity"), "must be a whole number from 1 to 3");
    for (none, pointer) in [(none_v2, "#/items/0/quantity"), (set, "#/quantity")] {
        let none = none.problem(400, "validation_failed");
        assert_eq!(none.at("/errors/0/pointer"), pointer);
        assert_eq!(none.at("/errors/0/detail"), "must be a whole number from 1 to 3");
    }
}
