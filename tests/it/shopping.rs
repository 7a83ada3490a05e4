//! Version 2, from the first item to the purchase.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, World, until};

/// The ids and quantities of a checkout's lines.
fn lines(answer: &Answer) -> Vec<(String, i64)> {
    let items = answer.at("/items");
    let line = |item: &Value| {
        (item["id"].as_str().unwrap().to_owned(), item["quantity"].as_i64().unwrap())
    };
    items.as_array().unwrap().iter().map(line).collect()
}

fn own(lines: &[(&str, i64)]) -> Vec<(String, i64)> {
    lines.iter().map(|(id, quantity)| ((*id).to_owned(), *quantity)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_collects_changes_and_buys() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 9 --stock 5").await;
    let (here, there) = (world.at(0), world.at(1));

    let body = json!({ "buyer_id": "ann", "sale_id": sale,
                       "items": [{ "id": "7", "quantity": 2 }, { "id": "3" }] });
    let new = here.write(Method::POST, "/v2/checkouts", "one", &body).await.is(201);
    let code = new.at("/code").as_str().unwrap().to_owned();
    let place = format!("/v2/checkouts/{code}");
    assert_eq!(new.header("location"), Some(&*place));
    assert_eq!(lines(&new), own(&[("3", 1), ("7", 2)]));
    assert_eq!((new.at("/state"), new.at("/pieces")), (json!("open"), json!(3)));
    assert_eq!((new.at("/buyer_id"), new.at("/sale_id")), (json!("ann"), json!(sale)));
    assert!(new.at("/items/0/name").is_string() && new.at("/items/0/image_url").is_string());

    let more = there.collect(&sale, "ann", &["5"], "two").await.is(200);
    assert_eq!((more.at("/code"), more.header("location")), (json!(code), None));
    let line = |item: &str| format!("{place}/items/{item}");
    let put = async |item, quantity| {
        here.write(Method::PUT, &line(item), "", &json!({ "quantity": quantity })).await
    };
    let put_free = async |item: &str, quantity: i32| {
        let body = json!({ "quantity": quantity }).to_string();
        let json = [("content-type", "application/json")];
        there.send_with(Method::PUT, &line(item), &json, body).await
    };
    put("7", 1).await.problem(400, "validation_failed");
    assert_eq!(lines(&put_free("7", 1).await.is(200)), own(&[("3", 1), ("7", 1), ("5", 1)]));
    put_free("1", 4).await.is(201);
    let without = here.send(Method::DELETE, &line("3"), &[]).await.is(200);
    assert_eq!(lines(&without), own(&[("7", 1), ("5", 1), ("1", 4)]));
    let again = there.send(Method::DELETE, &line("3"), &[]).await.is(200);
    assert_eq!(again.body, without.body);
    assert_eq!(there.get(&place).await.is(200).body, without.body);

    let bought = there.buy(&code, "three").await.is(200);
    assert_eq!(bought.header("content-location"), Some(&*format!("/v2/purchases/{code}")));
    assert_eq!(
        (bought.at("/pieces_bought"), bought.at("/items/0/outcome")),
        (json!(6), json!("sold"))
    );
    let stored = here.get(&format!("/v2/purchases/{code}")).await.is(200);
    assert_eq!(stored.body, bought.body);
    assert_eq!(here.get(&place).await.is(200).at("/state"), "purchased");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_lines_are_collected_together_or_not_at_all() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 2").await;
    let shop = world.at(0);
    for buyer in ["bob", "eve"] {
        for item in ["2", "4"] {
            shop.buys(&sale, buyer, item).await;
        }
    }
    let code = shop.collect(&sale, "ann", &["1"], "one").await.is(201);
    let code = code.at("/code").as_str().unwrap().to_owned();
    let collect = async |items: Value| {
        let body = json!({ "buyer_id": "ann", "sale_id": sale, "items": items });
        shop.write(Method::POST, "/v2/checkouts", "two", &body).await
    };

    let gone = collect(json!([{ "id": "3" }, { "id": "2" }, { "id": "4" }])).await;
    assert_eq!(gone.problem(409, "item_sold_out").at("/items"), json!(["2", "4"]));
    let unknown = collect(json!([{ "id": "3" }, { "id": "77" }])).await;
    assert_eq!(unknown.problem(404, "item_not_found").at("/items"), json!(["77"]));
    let many = [3, 5, 6, 7].map(|item| json!({ "id": item.to_string(), "quantity": 3 }));
    collect(json!(many)).await.problem(400, "user_limit_exceeded");
    let large = collect(json!([{ "id": "3", "quantity": 11 }, { "id": "5" }])).await;
    assert_eq!(
        large.problem(400, "validation_failed").at("/errors/0/pointer"),
        "#/items/0/quantity"
    );

    let found = shop.get(&format!("/v2/checkouts/{code}")).await.is(200);
    assert_eq!(lines(&found), own(&[("1", 1)]));
    collect(json!([{ "id": "3" }, { "id": "5" }])).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_was_purchased_takes_no_change_and_an_empty_one_is_not_bought() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let shop = world.at(0);
    let place = |code: &str, item: &str| format!("/v2/checkouts/{code}/items/{item}");
    let one = json!({ "quantity": 1 });
    let first = shop.collect(&sale, "ann", &["1"], "a").await.is(201);
    let first = first.at("/code").as_str().unwrap().to_owned();
    shop.buy(&first, "b").await.is(200);

    shop.write(Method::PUT, &place(&first, "2"), "c", &one).await.problem(409, "checkout_closed");
    let removed = shop.send(Method::DELETE, &place(&first, "1"), &[]).await;
    removed.problem(409, "checkout_closed");

    let second = shop.collect(&sale, "ann", &["2"], "d").await.is(201);
    let second = second.at("/code").as_str().unwrap().to_owned();
    shop.send(Method::DELETE, &place(&second, "2"), &[]).await.is(200);
    shop.buy(&second, "e").await.problem(409, "checkout_empty");
    shop.purchase(&second).await.refuses(409, "checkout_empty");
    world.verify().await;
    shop.get(&format!("/v2/purchases/{second}")).await.problem(404, "not_purchased");
    shop.write(Method::PUT, &place(&second, "3"), "f", &one).await.is(201);
    shop.buy(&second, "e").await.is(200);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_buys_nothing_is_a_problem_that_contains_the_purchase() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 3 --buyer-limit 1").await;
    let shop = world.at(0);
    let code = async |buyer, item, key| {
        let answer = shop.collect(&sale, buyer, &[item], key).await.is(201);
        answer.at("/code").as_str().unwrap().to_owned()
    };
    let late = code("bob", "1", "a").await;
    shop.buys(&sale, "ann", "1").await;
    let sql = "UPDATE buyers SET bought = 1 WHERE user_id = 'eve'";
    let limited = code("eve", "2", "b").await;
    sqlx::query(sql).execute(world.pool()).await.unwrap();

    for (code, status, reason, outcome) in [
        (&late, 409, "items_already_sold", "sold_out"),
        (&limited, 400, "user_limit_exceeded", "buyer_limit"),
    ] {
        let first = shop.buy(code, "x").await.problem(status, reason);
        assert_eq!(first.at("/purchase/items/0/outcome"), outcome);
        let again = shop.buy(code, "y").await.problem(status, reason);
        assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &first.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_work_on_the_same_checkout() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 9").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;

    let more = world.at(1).collect(&sale, "ann", &["2", "3"], "a").await.is(200);
    assert_eq!(more.at("/code"), json!(code));
    let counted = world.at(0).checkout(&sale, "ann", "4").await.is(200);
    assert_eq!(counted.at("/items_count"), 4);
    world.at(1).buy(&code, "b").await.is(200);
    let again = world.at(0).purchase(&code).await.is(200);
    assert_eq!(
        (again.header("idempotent-replayed"), again.at("/total_purchased")),
        (Some("true"), json!(4))
    );
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_the_service_did_not_make_are_not_found() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let shop = world.at(0);
    let one = json!({ "quantity": 1 });

    for code in [code.to_lowercase(), format!("{code}0"), "CHK-S-1-x".to_owned(), "%ff".to_owned()]
    {
        let place = format!("/v2/checkouts/{code}");
        shop.get(&place).await.problem(404, "code_not_found");
        shop.buy(&code, "k").await.problem(404, "code_not_found");
        let line = format!("{place}/items/1");
        if code != "%ff" {
            shop.write(Method::PUT, &line, "k", &one).await.problem(404, "code_not_found");
            shop.send(Method::DELETE, &line, &[]).await.problem(404, "code_not_found");
        }
    }
    shop.get("/v2/checkouts").await.problem(405, "method_not_allowed");
    for item in ["%", "%zz"] {
        let line = format!("/v2/checkouts/{code}/items/{item}");
        shop.send(Method::DELETE, &line, &[]).await.problem(400, "validation_failed");
        let buyer = format!("/v2/buyers/{item}/purchases");
        shop.get(&buyer).await.problem(400, "validation_failed");
        shop.get(&format!("/users/{item}/purchases")).await.refuses(400, "validation_failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_the_window_nothing_is_collected_changed_or_bought() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let later = world.create_sale("--items 9 --starts-in 1h").await;
    let shop = world.at(0);
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let line = format!("/v2/checkouts/{code}/items/1");
    shop.collect(&later, "ann", &["1"], "a").await.problem(409, "sale_not_started");

    let end = "UPDATE sales SET ends_at = clock_timestamp(), generation = generation + 1 WHERE ends_at > clock_timestamp() AND starts_at < clock_timestamp()";
    sqlx::query(end).execute(world.pool()).await.unwrap();

    shop.collect(&sale, "ann", &["1"], "b").await.problem(410, "sale_ended");
    shop.send(Method::DELETE, &line, &[]).await.problem(410, "sale_ended");
    shop.buy(&code, "c").await.problem(410, "sale_ended");
    until("the checkout is closed", async || {
        shop.get(&format!("/v2/checkouts/{code}")).await.is(200).at("/state") == "closed"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_a_checkout_cannot_hold_and_nothing_is_done() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let shop = world.at(0);
    let code = shop.collects(&sale, "ann", "1").await;
    let line = format!("/v2/checkouts/{code}/items/1");
    let buy = format!("/v2/checkouts/{code}/purchase");
    let json = ("content-type", "application/json");

    for condition in [("if-match", "\"a\""), ("if-none-match", "*"), ("if-none-match", "\"a\"")] {
        let headers = [json, condition, ("idempotency-key", "k")];
        for (method, path, body) in [
            (Method::PUT, &line, "{\"quantity\":2}"),
            (Method::DELETE, &line, ""),
            (Method::POST, &buy, ""),
        ] {
            let refused = shop.send_with(method, path, &headers, body).await;
            refused.problem(412, "precondition_failed");
        }
    }
    assert_eq!(shop.get(&format!("/v2/checkouts/{code}")).await.at("/pieces"), 1);
    let headers = [json, ("if-match", "*")];
    shop.send_with(Method::PUT, &line, &headers, "{\"quantity\":2}").await.is(200);
}
