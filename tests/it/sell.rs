//! A rush over two instances: everything is sold, and nothing twice.

use std::collections::BTreeSet;

use crate::harness::{Client, World, at_once};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_unique_items_go_to_a_hundred_of_two_hundred_buyers() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 100").await;

    let buyers = (0..200_usize).map(|number| {
        let item = (number % 100 + 1).to_string();
        buy(world.at(number / 100).clone(), sale.clone(), format!("buyer-{number}"), item)
    });
    let owned = at_once(buyers).await;

    let owned: Vec<String> = owned.into_iter().flatten().collect();
    assert_eq!(owned.len(), 100);
    assert_eq!(owned.iter().collect::<BTreeSet<_>>().len(), 100, "an item was sold twice");
    world.sells_exactly(&sale, 100).await;
    assert_eq!(world.sale(&sale).await["remaining"], 0);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_pieces_of_one_item_go_to_thirty_of_ninety_buyers() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 1 --stock 30").await;

    let buyers = (0..90_usize).map(|number| {
        let name = format!("buyer-{number}");
        buy(world.at(number % 2).clone(), sale.clone(), name, "1".to_owned())
    });
    let owned = at_once(buyers).await;

    assert_eq!(owned.into_iter().flatten().count(), 30);
    world.sells_exactly(&sale, 30).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_comes_late_knows_what_is_sold_and_what_is_not() {
    let mut world = World::of(1).await;
    let sale = world.create_sale("--items 40").await;
    for item in 1..=20 {
        world.at(0).buys(&sale, &format!("buyer-{item}"), &item.to_string()).await;
    }

    world.start(1).await;

    for item in 1..=20 {
        let answer = world.at(1).checkout(&sale, "late", &item.to_string()).await;
        answer.refuses(409, "item_sold_out");
    }
    for item in 21..=40 {
        world.at(1).buys(&sale, &format!("buyer-{item}"), &item.to_string()).await;
    }
    world.sells_exactly(&sale, 40).await;
    world.verify().await;
}

/// One buyer's attempt. Returns the item if it was bought.
async fn buy(client: Client, sale: String, user: String, item: String) -> Option<String> {
    let checkout = client.checkout(&sale, &user, &item).await;
    if checkout.status == 409 {
        let (_, code) = checkout.status_and_code();
        assert!(["item_sold_out", "sale_sold_out"].contains(&code.as_str()), "{code}");
        return None;
    }
    let purchase = client.purchase(&checkout.checkout_code()).await;
    if purchase.status == 409 {
        purchase.refuses(409, "items_already_sold");
        return None;
    }
    assert_eq!(purchase.is(200).at("/purchased_items/0/id"), item.as_str());
    Some(item)
}
