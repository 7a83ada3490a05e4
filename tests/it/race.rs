//! A checkout concurrent with the purchase of the same code: no acknowledged item is lost between them.

use tokio::task::JoinSet;

use crate::harness::client::checkout_path;
use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{Answer, World};

/// Rounds; every fourth one uses the same instances in the same order. Half of the purchases have an idempotency key.
const ROUNDS: usize = 40;

/// One race.
struct Round<'a> {
    number: usize,
    sale: &'a str,
    user: &'a str,
    code: &'a str,
    late: &'a str,
}

/// The response to one of the two requests.
enum Raced {
    Bought(Answer),
    Added(Answer),
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_acknowledged_while_its_code_is_purchased_is_bought_or_still_collected() {
    let world = World::of(2).await;
    let sale = world.create_sale(&format!("--items {}", 2 * ROUNDS)).await;

    for number in 0..ROUNDS {
        let user = format!("buyer-{number}");
        let (kept, late) = ((2 * number + 1).to_string(), (2 * number + 2).to_string());
        let code = world.at(0).collects(&sale, &user, &kept).await;

        let round = Round { number, sale: &sale, user: &user, code: &code, late: &late };
        let (purchase, checkout) = race(&world, round).await;

        let mut bought = bought_ids(&purchase.is(200));
        assert!(bought.contains(&kept), "round {number}: {bought:?}");
        let items_count = checkout.at("/items_count");
        let acknowledged_in = checkout.checkout_code();
        if acknowledged_in != code {
            assert_eq!(items_count, 1, "round {number}");
            bought = bought_ids(&world.at(1).purchase(&acknowledged_in).await.is(200));
        }
        assert!(bought.contains(&late), "round {number}: an acknowledged item was lost");
    }

    world.sells_exactly(&sale, 2 * ROUNDS).await;
    world.verify().await;
}

/// Makes a purchase and a checkout wait for the buyer's lock together, in both orders, on one instance or two.
async fn race(world: &World, round: Round<'_>) -> (Answer, Answer) {
    let hold = hold_buyer(world.pool(), round.user).await;
    let (client, code) = (world.at(0).clone(), round.code.to_owned());
    let is_keyed = round.number % 8 >= 4;
    let buying = async move {
        let bought =
            if is_keyed { client.buy(&code, "k").await } else { client.purchase(&code).await };
        Raced::Bought(bought)
    };
    let client = world.at(round.number % 2).clone();
    let wish = checkout_path(round.sale, round.user, round.late);
    let adding = async move { Raced::Added(client.post(&wish).await) };

    let mut racing = JoinSet::new();
    if round.number % 4 < 2 {
        racing.spawn(buying);
        waiting(world.pool(), 1).await;
        racing.spawn(adding);
    } else {
        racing.spawn(adding);
        waiting(world.pool(), 1).await;
        racing.spawn(buying);
    }
    waiting(world.pool(), 2).await;
    hold.rollback().await.unwrap();

    let mut raced = racing.join_all().await;
    raced.sort_by_key(|raced| matches!(raced, Raced::Added(_)));
    match <[Raced; 2]>::try_from(raced) {
        Ok([Raced::Bought(purchase), Raced::Added(checkout)]) => (purchase, checkout),
        _ => panic!("both were asked once"),
    }
}

/// The items that were bought, by the body of either version.
fn bought_ids(purchase: &Answer) -> Vec<String> {
    let body = purchase.json();
    let items = body.get("purchased_items").or_else(|| body.get("items")).unwrap();
    let bought = items.as_array().unwrap().iter();
    let bought = bought.filter(|item| item.get("outcome").is_none_or(|outcome| outcome == "sold"));
    bought.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}
