//! A buyer's limit is exact, however many clients and instances the buyer uses.

use crate::harness::{Client, Dice, World, at_once};

/// The buyer limit of these sales.
const LIMIT: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn collected_and_bought_pieces_together_stay_within_the_limit() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 5 --stock 20").await;
    world.at(0).checkout_pieces(&sale, "ann", "1", 6).await.is(200);

    let refused = world.at(1).checkout_pieces(&sale, "ann", "2", 5).await;

    refused.refuses(400, "user_limit_exceeded");
    let unchanged = world.at(0).checkout_pieces(&sale, "ann", "1", 6).await.is(200);
    assert_eq!(unchanged.at("/items_count"), 1);
    let code = unchanged.checkout_code();
    assert_eq!(world.at(1).purchase(&code).await.is(200).at("/total_purchased"), 6);
    world.at(0).checkout_pieces(&sale, "ann", "3", 5).await.refuses(400, "user_limit_exceeded");
    let code = world.at(1).checkout_pieces(&sale, "ann", "3", 4).await.checkout_code();
    assert_eq!(world.at(0).purchase(&code).await.is(200).at("/total_purchased"), 4);
    for instance in [0, 1, 0, 1] {
        let answer = world.at(instance).checkout(&sale, "ann", "4").await;
        answer.refuses(400, "user_limit_exceeded");
    }
    assert_eq!(owned(world.at(0), &sale, "ann").await, LIMIT);
    world.every_piece_is_sold_or_buyable(&sale, 100).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sale_has_its_own_limit() {
    let world = World::of(1).await;
    let small = world.create_sale("--items 5 --buyer-limit 2").await;
    let large = world.create_sale("--items 5 --stock 50 --buyer-limit 40").await;

    for item in ["1", "2"] {
        world.at(0).collects(&small, "ann", item).await;
    }
    world.at(0).checkout(&small, "ann", "3").await.refuses(400, "user_limit_exceeded");
    let code = world.at(0).checkout_pieces(&large, "ann", "1", 40).await.checkout_code();
    assert_eq!(world.at(0).purchase(&code).await.is(200).at("/total_purchased"), 40);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_clients_of_one_buyer_over_two_instances_get_ten_pieces() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 40 --stock 100").await;

    let clients = (0..8_usize).map(|number| greedy(world.clients(), sale.clone(), number));
    let codes = at_once(clients).await;

    assert!(owned(world.at(0), &sale, "ann").await <= LIMIT);
    for code in codes.into_iter().flatten() {
        world.at(0).purchase(&code).await.is(200);
    }
    // What is missing up to the limit can still be bought, one by one.
    for item in 1..=40 {
        let checkout = world.at(item % 2).checkout(&sale, "ann", &item.to_string()).await;
        if checkout.status == 200 {
            world.at(0).purchase(&checkout.checkout_code()).await.is(200);
        }
    }
    assert_eq!(owned(world.at(1), &sale, "ann").await, LIMIT);
    world.every_piece_is_sold_or_buyable(&sale, 4_000).await;
    world.verify().await;
}

/// One of a buyer's clients: three hundred checkouts and purchases, whatever the responses are. Returns its last code.
async fn greedy(clients: Vec<Client>, sale: String, number: usize) -> Option<String> {
    let mut dice = Dice::new(u64::try_from(number).unwrap());
    let mut code = None;
    for _ in 0..150 {
        let item = (dice.below(40) + 1).to_string();
        let pieces = u32::try_from(dice.below(3) + 1).unwrap();
        let checkout = dice.pick(&clients).checkout_pieces(&sale, "ann", &item, pieces).await;
        match checkout.status {
            200 => code = Some(checkout.checkout_code()),
            400 => drop(checkout.refuses(400, "user_limit_exceeded")),
            _ => assert_eq!(checkout.status, 503, "{}", checkout.body),
        }
        let Some(code) = &code else { continue };
        let purchase = dice.pick(&clients).purchase(code).await;
        if purchase.status == 409 {
            purchase.refuses(409, "purchase_in_progress");
        } else {
            assert!([200, 503].contains(&purchase.status), "{}", purchase.body);
        }
    }
    code
}

/// Pieces that a buyer owns, by the buyer's history.
async fn owned(client: &Client, sale: &str, user: &str) -> u64 {
    let history = format!("/users/{user}/purchases?sale_id={sale}&limit=100");
    let history = client.get(&history).await.is(200).at("/data");
    let purchases = history.as_array().unwrap().iter();
    purchases.map(|purchase| purchase["total_purchased"].as_u64().unwrap()).sum()
}
