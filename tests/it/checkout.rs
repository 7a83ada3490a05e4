//! `POST /checkout`: what it collects, in which sale, and what it refuses.

use crate::harness::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_returns_its_code_its_lines_and_its_sale() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 10").await;

    let first = world.at(0).checkout(&sale, "ann", "1").await.is(200);
    let second = world.at(0).checkout(&sale, "ann", "2").await.is(200);

    assert!(first.at("/code").as_str().unwrap().starts_with(&format!("CHK-{sale}-")));
    assert_eq!(second.at("/code"), first.at("/code"));
    assert_eq!((first.at("/items_count"), second.at("/items_count")), (1.into(), 2.into()));
    assert_eq!(first.at("/sale_id"), sale.as_str());
    assert_eq!(first.at("/sale_ends_at"), world.sale(&sale).await["ends_at"]);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_again_for_an_item_sets_its_quantity() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 3 --stock 10").await;

    let mut code = String::new();
    for (place, pieces) in [4, 9, 9, 3].into_iter().enumerate() {
        let answer = world.at(place % 2).checkout_pieces(&sale, "ann", "1", pieces).await.is(200);
        assert_eq!(answer.at("/items_count"), 1);
        code = answer.checkout_code();
    }

    let bought = world.at(0).purchase(&code).await.is(200);
    assert_eq!(bought.at("/total_purchased"), 3);
    assert_eq!(bought.at("/purchased_items/0/quantity"), 3);
    world.every_piece_is_sold_or_buyable(&sale, 30).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_purchase_the_next_checkout_has_a_new_code() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 5").await;
    let first = world.at(0).buys(&sale, "ann", "1").await;

    let next = world.at(1).checkout(&sale, "ann", "2").await.is(200);

    assert_eq!(next.at("/items_count"), 1);
    assert_ne!(next.checkout_code(), first);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_reserves_nothing() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 1").await;
    world.at(0).collects(&sale, "ann", "1").await;

    world.at(0).buys(&sale, "bob", "1").await;

    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alias_id_and_the_path_with_a_version_do_the_same() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;

    let plain = world.at(0).collects(&sale, "ann", "1").await;
    let alias = world.at(0).post(&format!("/checkout?user_id=ann&id=1&sale_id={sale}")).await;
    let versioned =
        world.at(0).post(&format!("/v1/checkout?user_id=ann&item_id=1&sale_id={sale}")).await;

    assert_eq!((alias.checkout_code(), versioned.checkout_code()), (plain.clone(), plain.clone()));
    world.at(0).post(&format!("/v1/purchase?code={plain}")).await.is(200);
    world.at(0).get(&format!("/v1/purchases/{plain}")).await.is(200);
    world.at(0).get(&format!("/v1/sales/{sale}")).await.is(200);
    world.at(0).get("/v1/sales/active").await.is(200);
    world.at(0).get(&format!("/v1/sales/{sale}/items")).await.is(200);
    world.at(0).get("/v1/users/ann/purchases").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sale_id_the_only_open_sale_is_used() {
    let world = World::of(1).await;
    let wish = "/checkout?user_id=ann&item_id=1";

    world.at(0).post(wish).await.refuses(404, "no_active_sale");
    world.create_sale("--items 5 --starts-in 1h").await;
    world.at(0).post(wish).await.refuses(404, "no_active_sale");
    let sale = world.create_sale("--items 5").await;
    assert_eq!(world.at(0).post(wish).await.is(200).at("/sale_id"), sale.as_str());
    world.create_sale("--items 5").await;
    // Until the sale cache polls again, the first sale may still count as the only one.
    until("a second sale makes it ambiguous", async || {
        world.at(0).post(wish).await.status_and_code() == (400, "sale_id_required".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sold_here_is_not_found() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;

    for unknown in ["6", "0", "01", "-1", "nonsense", "1 ", "é", "S-1"] {
        world.at(0).checkout(&sale, "ann", unknown).await.refuses(404, "item_not_found");
    }
    for unknown in ["S-ZZZZZZ", "S-1000"] {
        world.at(0).checkout(unknown, "ann", "1").await.refuses(404, "sale_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_out_is_refused_from_every_instance() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 2").await;

    world.at(0).buys(&sale, "ann", "1").await;
    for instance in [0, 1, 0, 1] {
        let answer = world.at(instance).checkout(&sale, "bob", "1").await;
        answer.refuses(409, "item_sold_out");
    }
    world.at(1).buys(&sale, "bob", "2").await;
    for instance in [0, 1, 0, 1] {
        let answer = world.at(instance).checkout(&sale, "cid", "1").await;
        assert_eq!(answer.status, 409, "{}", answer.body);
    }
    for instance in [0, 1] {
        let last = || world.at(instance).checkout(&sale, "cid", "2");
        until("the whole sale is known to be sold out", async || {
            last().await.status_and_code() == (409, "sale_sold_out".to_owned())
        })
        .await;
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restocked_item_sells_again_without_a_restart() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 1").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.at(1).checkout(&sale, "bob", "1").await.is(409);

    let mut restock = world.pool().begin().await.unwrap();
    sqlx::query("UPDATE item_stock SET stock = stock + 1").execute(&mut *restock).await.unwrap();
    sqlx::query("UPDATE sales SET generation = generation + 1")
        .execute(&mut *restock)
        .await
        .unwrap();
    restock.commit().await.unwrap();

    // Each instance may refuse from memory for a second.
    for instance in [1, 0] {
        until("the new piece can be collected", async || {
            world.at(instance).checkout(&sale, "bob", "1").await.status == 200
        })
        .await;
    }
    world.at(0).buys(&sale, "bob", "1").await;
    world.sells_exactly(&sale, 2).await;
    world.verify().await;
}
