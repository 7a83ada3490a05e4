//! A sale is open from its start up to its end, by the database's clock.

use redis::AsyncCommands;

use crate::harness::{World, eventually, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_sells_nothing_before_its_start_and_opens_by_itself() {
    let world = World::of(2).await;
    let sale = world
        .in_time(async |soon| {
            let sale = world.create_sale(&format!("--items 5 --starts-in {soon}")).await;
            let early = world.at(0).checkout(&sale, "ann", "1").await;
            if early.status == 200 {
                return None;
            }
            early.refuses(409, "sale_not_started");
            Some(sale)
        })
        .await;
    let code = eventually("the sale opens", async || {
        let answer = world.at(1).checkout(&sale, "ann", "1").await;
        if answer.status == 200 {
            return Some(answer.checkout_code());
        }
        answer.refuses(409, "sale_not_started");
        None
    })
    .await;

    let early_checkouts = "SELECT count(*) FROM checkout_attempts a JOIN sales s ON s.id = a.sale_id \
                           WHERE a.created_at < s.starts_at";
    let early: i64 = sqlx::query_scalar(early_checkouts).fetch_one(world.pool()).await.unwrap();
    assert_eq!(early, 0);
    world.at(0).purchase(&code).await.is(200);
    assert_eq!(world.sale(&sale).await["state"], "open");
    world.every_piece_is_sold_or_buyable(&sale, 5).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_starts_at_a_given_time_starts_then() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5 --starts-at 2099-01-01T10:00:00Z --duration 2h").await;

    let read = world.sale(&sale).await;

    assert_eq!(read["starts_at"], "2099-01-01T10:00:00Z");
    assert_eq!(read["ends_at"], "2099-01-01T12:00:00Z");
    assert_eq!(read["state"], "upcoming");
    world.at(0).checkout(&sale, "ann", "1").await.refuses(409, "sale_not_started");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_nothing_is_sold_and_the_refusal_is_not_stored() {
    let world = World::of(2).await;
    let (sale, code) = world
        .in_time(async |brief| {
            let sale = world.create_sale(&format!("--items 5 --duration {brief}")).await;
            let checkout = world.at(0).checkout(&sale, "ann", "1").await;
            (checkout.status == 200).then(|| (sale, checkout.checkout_code()))
        })
        .await;

    world.sale_is(&sale, "ended").await;

    for client in world.clients().iter().chain(&world.clients()) {
        let late = client.purchase(&code).await.refuses(410, "sale_ended");
        assert_eq!(late.header("idempotent-replayed"), None);
        client.checkout(&sale, "bob", "2").await.refuses(410, "sale_ended");
        client.get(&format!("/purchases/{code}")).await.refuses(404, "not_purchased");
        // Within the error of an instance's clock, PostgreSQL decides that the sale has ended.
        until("the instance finds no open sale", async || {
            let answer = client.post("/checkout?user_id=bob&item_id=2").await.status_and_code();
            assert!([404, 410].contains(&answer.0), "{answer:?}");
            answer == (404, "no_active_sale".to_owned())
        })
        .await;
    }
    assert_eq!(world.sale(&sale).await["sold"], 0);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_purchases_of_a_sale_are_sold_in_time_or_refused_because_it_ended() {
    let world = World::of(2).await;
    let brief = world.seconds(5).await;
    let sale = world.create_sale(&format!("--items 3000 --stock 10 --duration {brief}")).await;

    let mut sold = 0_usize;
    for number in 0.. {
        let client = world.at(number % 2);
        let item = (number % 3000 + 1).to_string();
        let checkout = client.checkout(&sale, &format!("buyer-{number}"), &item).await;
        if checkout.status != 200 {
            checkout.refuses(410, "sale_ended");
            break;
        }
        let purchase = client.purchase(&checkout.checkout_code()).await;
        if purchase.status != 200 {
            purchase.refuses(410, "sale_ended");
            break;
        }
        sold += 1;
    }

    let late = "SELECT count(*) FROM purchases p JOIN sales s ON s.id = p.sale_id \
                WHERE p.purchased_at < s.starts_at OR p.purchased_at >= s.ends_at";
    let late: i64 = sqlx::query_scalar(late).fetch_one(world.pool()).await.unwrap();
    assert_eq!(late, 0);
    world.sells_exactly(&sale, sold).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_databases_clock_was_set_back_redis_follows_what_a_buyer_does() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 2 --stock 90").await;
    let mut redis = world.redis().await;
    let full = world.at(0).checkout_pieces(&sale, "ann", "1", 10).await.is(200).checkout_code();
    let pattern = format!("{}*buyer:ann", world.key_prefix);
    let (key, totals) = eventually("the totals are stored", async || {
        let keys: Vec<String> = redis.keys(&pattern).await.unwrap();
        let key = keys.into_iter().next()?;
        let totals: String = redis.get(&key).await.unwrap();
        Some((key, totals))
    })
    .await;
    assert_eq!(totals, format!("{} 0 1 10", version_of_ann(&world).await));

    // What a clock that was an hour ahead has left.
    let ahead = "UPDATE buyers SET version = version + 3600000000";
    sqlx::query(ahead).execute(world.pool()).await.unwrap();
    let totals = format!("{} 0 1 10", version_of_ann(&world).await);
    let mut set = redis::cmd("SET");
    let () = set.arg(&key).arg(totals).arg("KEEPTTL").query_async(&mut redis).await.unwrap();

    world.at(1).checkout_pieces(&sale, "ann", "1", 9).await.is(200);
    let smaller = format!("{} 0 1 9", version_of_ann(&world).await);
    until("redis has the smaller checkout", async || {
        redis.get::<_, String>(&key).await.unwrap() == smaller
    })
    .await;
    world.at(0).purchase(&full).await.is(200);
    let bought = format!("{} 9", version_of_ann(&world).await);
    until("redis has the purchase", async || redis.get::<_, String>(&key).await.unwrap() == bought)
        .await;
    world.verify().await;
}

async fn version_of_ann(world: &World) -> i64 {
    let version = "SELECT version FROM buyers WHERE user_id = 'ann'";
    sqlx::query_scalar(version).fetch_one(world.pool()).await.unwrap()
}
