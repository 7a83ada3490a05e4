//! `POST /purchase`: it buys whole lines, as many as can be sold, and names the rest.

use crate::harness::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_there_is_bought_and_the_rest_is_named() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 5").await;
    for item in ["1", "2", "3"] {
        world.at(0).collects(&sale, "bob", item).await;
    }
    let code = world.at(0).collects(&sale, "bob", "4").await;
    world.at(1).buys(&sale, "ann", "2").await;

    let answer = world.at(0).purchase(&code).await.is(200);

    assert_eq!(answer.at("/success"), true);
    assert_eq!((answer.at("/total_purchased"), answer.at("/failed_count")), (3.into(), 1.into()));
    let ids = answer.at("/purchased_items").as_array().unwrap().clone();
    let ids: Vec<&str> = ids.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["1", "3", "4"]);
    assert_eq!(
        answer.at("/failed_items"),
        serde_json::json!([{"id": "2", "quantity": 1, "reason": "sold_out"}])
    );
    for field in ["name", "image_url"] {
        let text = answer.at(&format!("/purchased_items/0/{field}"));
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{}", answer.body);
    }
    world.every_piece_is_sold_or_buyable(&sale, 5).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_of_nothing_but_sold_items_is_refused_and_stored() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 3").await;
    world.at(0).collects(&sale, "bob", "1").await;
    let code = world.at(0).collects(&sale, "bob", "2").await;
    world.at(1).buys(&sale, "ann", "1").await;
    world.at(1).buys(&sale, "ann", "2").await;

    let answer = world.at(0).purchase(&code).await.refuses(409, "items_already_sold");

    assert_eq!(answer.at("/success"), false);
    assert_eq!(answer.at("/purchased_items"), serde_json::json!([]));
    assert_eq!((answer.at("/total_purchased"), answer.at("/failed_count")), (0.into(), 2.into()));
    assert_eq!(answer.at("/failed_items/1/reason"), "sold_out");
    let again = world.at(1).purchase(&code).await;
    assert_eq!(again.content(), answer.content());
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let stored = world.at(1).get(&format!("/purchases/{code}")).await.is(200);
    assert_eq!(stored.at("/success"), false);
    assert_eq!(stored.at("/failed_items"), answer.at("/failed_items"));
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_sells_whole_or_not_at_all() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 1 --stock 3").await;
    let code = world.at(0).checkout_pieces(&sale, "bob", "1", 3).await.checkout_code();
    world.at(0).buys(&sale, "ann", "1").await;

    let answer = world.at(0).purchase(&code).await.refuses(409, "items_already_sold");

    assert_eq!(
        answer.at("/failed_items"),
        serde_json::json!([{"id": "1", "quantity": 3, "reason": "sold_out"}])
    );
    let code = world.at(0).checkout_pieces(&sale, "bob", "1", 2).await.checkout_code();
    assert_eq!(world.at(0).purchase(&code).await.is(200).at("/total_purchased"), 2);
    world.every_piece_is_sold_or_buyable(&sale, 3).await;
    world.verify().await;
}

/// A checkout never lets a buyer get here, so the test changes the buyer's count in the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_only_the_limit_stops_is_refused_and_stored() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 3").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let bought = "UPDATE buyers SET bought = $1 WHERE user_id = 'ann'";
    sqlx::query(bought).bind(10_i32).execute(world.pool()).await.unwrap();

    let answer = world.at(0).purchase(&code).await.refuses(400, "user_limit_exceeded");

    assert_eq!(answer.at("/success"), false);
    assert_eq!(
        answer.at("/failed_items"),
        serde_json::json!([{"id": "1", "quantity": 1, "reason": "buyer_limit"}])
    );
    sqlx::query(bought).bind(0_i32).execute(world.pool()).await.unwrap();
    let again = world.at(1).purchase(&code).await;
    assert_eq!(again.content(), answer.content());
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    // What the service remembers of the buyer refuses requests for a second.
    until("the buyer is served again", async || {
        world.at(1).checkout(&sale, "ann", "2").await.status == 200
    })
    .await;
    world.at(1).buys(&sale, "bob", "1").await;
    world.every_piece_is_sold_or_buyable(&sale, 3).await;
    world.verify().await;
}
