//! A client that hangs up at any moment leaves no partial effect.

use std::time::Duration;

use crate::harness::client::{checkout_path, purchase_path};
use crate::harness::{Client, Dice, Wire, World, at_once, until, wire};

/// Concurrent clients that hang up.
const CLIENTS: usize = 4;
/// Buyers of each client.
const BUYERS_EACH: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn whenever_clients_hang_up_their_checkouts_and_purchases_are_whole() {
    let world = World::of(2).await;
    let items = CLIENTS * BUYERS_EACH;
    let sale = world.create_sale(&format!("--items {items}")).await;

    let clients = (0..CLIENTS)
        .map(|number| hang_up_all_the_time(world.at(number % 2).clone(), sale.clone(), number));
    at_once(clients).await;

    world.sells_exactly(&sale, items).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_began_and_left_is_carried_to_its_end() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 100").await;
    let mut dice = Dice::new(7);

    for buyer in 0..60 {
        let (user, item) = (format!("buyer-{buyer}"), (buyer + 1).to_string());
        let code = world.at(0).collects(&sale, &user, &item).await;
        hang_up(world.at(0), &purchase_path(&code), &mut dice).await;
    }

    // After the commit, the outcome was also published and counted.
    until("every stored purchase is counted", async || {
        let stored: f64 = sqlx::query_scalar("SELECT count(*)::float8 FROM purchases")
            .fetch_one(world.pool())
            .await
            .unwrap();
        let counted = world.metrics(0).await.sum("flash_sale_items_sold_total", &[]);
        stored > 0.0 && (counted - stored).abs() < 0.5
    })
    .await;
    world.verify().await;
}

/// Sends every request once without waiting for its response, then again until it is answered.
async fn hang_up_all_the_time(client: Client, sale: String, number: usize) {
    let mut dice = Dice::new(u64::try_from(number).unwrap());
    for buyer in 0..BUYERS_EACH {
        let user = format!("buyer-{number}-{buyer}");
        let item = (number * BUYERS_EACH + buyer + 1).to_string();

        hang_up(&client, &checkout_path(&sale, &user, &item), &mut dice).await;
        let checkout = client.checkout(&sale, &user, &item).await.is(200);
        assert_eq!(checkout.at("/items_count"), 1);
        let code = checkout.checkout_code();

        hang_up(&client, &purchase_path(&code), &mut dice).await;
        let purchase = client.purchase(&code).await.is(200);
        assert_eq!(purchase.at("/total_purchased"), 1, "{}", purchase.body);
        let stored = client.get(&format!("/purchases/{code}")).await.is(200);
        assert_eq!(stored.at("/purchased_items"), purchase.at("/purchased_items"));
        let history = client.get(&format!("/users/{user}/purchases?sale_id={sale}")).await;
        assert_eq!(history.at("/pagination/total_items"), 1, "{}", history.body);
    }
}

/// Sends a request, or only its beginning, and hangs up after up to 12 ms.
async fn hang_up(client: &Client, path: &str, dice: &mut Dice) {
    let request = wire::request("POST", path);
    let sent = if dice.below(8) == 0 { dice.below(request.len()) } else { request.len() };
    let mut wire = Wire::connect(client.address).await.unwrap();
    assert!(wire.send(&request[..sent]).await);
    let moment_us = u64::try_from(dice.below(12_000)).unwrap();
    tokio::time::sleep(Duration::from_micros(moment_us)).await;
}
