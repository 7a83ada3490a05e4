//! A purchase takes effect once, and every repeat gets the same answer.

use redis::AsyncCommands;
use tokio::task::JoinSet;

use crate::harness::client::purchase_path;
use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{Answer, Client, World, at_once, eventually, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_repeat_gets_the_first_answer_from_any_instance_and_after_a_restart() {
    let mut world = World::of(2).await;
    let sale = world.create_sale("--items 15").await;
    // Two buyers want each item: one of them gets 200, the other 409.
    let mut codes = Vec::new();
    for number in 0..30 {
        let item = (number / 2 + 1).to_string();
        let code = world.at(number % 2).collects(&sale, &format!("buyer-{number}"), &item).await;
        codes.push(code);
    }

    let first =
        at_once(codes.iter().map(|code| twice_at_once(world.clients(), code.clone()))).await;

    assert_eq!(first.iter().filter(|(_, answer)| answer.status == 200).count(), 15);
    assert_eq!(first.iter().filter(|(_, answer)| answer.status == 409).count(), 15);
    assert_repeats(&world, &first).await;
    world.sells_exactly(&sale, 15).await;
    world.restart().await;
    assert_repeats(&world, &first).await;
    world.sells_exactly(&sale, 15).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_after_the_sale_gets_the_answer_from_during_the_sale() {
    let mut world = World::of(2).await;
    let sale = world.create_sale("--items 2").await;
    let won = world.at(0).collects(&sale, "ann", "1").await;
    let lost = world.at(1).collects(&sale, "bob", "1").await;
    let mut first = Vec::new();
    for code in [won, lost] {
        let answer = world.at(0).purchase(&code).await;
        first.push((code, answer));
    }
    assert_eq!((first[0].1.status, first[1].1.status), (200, 409));

    world.end(&sale).await;

    assert_repeats(&world, &first).await;
    world.restart().await;
    assert_repeats(&world, &first).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_refused_while_the_first_runs_and_nothing_is_stored_for_it() {
    let world =
        World::plan(2).set("redis.lock_wait", "200ms").set("redis.lock_ttl", "1m").start().await;
    let sale = world.create_sale("--items 5").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let hold = hold_buyer(world.pool(), "ann").await;
    let (client, path) = (world.at(0).clone(), purchase_path(&code));
    let mut first = JoinSet::from_iter([async move { client.post(&path).await }]);
    waiting(world.pool(), 1).await;

    let early = world.at(1).purchase(&code).await.refuses(409, "purchase_in_progress");

    assert!(early.header("retry-after").is_some());
    assert_eq!(early.header("idempotent-replayed"), None);
    hold.rollback().await.unwrap();
    let first = first.join_next().await.unwrap().unwrap().is(200);
    let again = eventually("the lock is released", async || {
        let again = world.at(1).purchase(&code).await;
        (again.status == 200).then_some(again)
    })
    .await;
    assert_eq!(again.content(), first.content());
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_of_a_stored_purchase_are_answered_while_another_holds_the_lock() {
    // A repeat that waits for the lock waits for longer than a request may take.
    let world = World::plan(2).set("http.request_timeout", "20s").start().await;
    let sale = world.create_sale("--items 5").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let first = world.at(0).purchase(&code).await.is(200);
    let stored = "SELECT sale_id, attempt_id FROM purchases";
    let (sale, attempt): (i64, i64) = sqlx::query_as(stored).fetch_one(world.pool()).await.unwrap();
    let lock = format!("{}{{sale:{sale}}}:lock:{attempt}", world.key_prefix);
    let mut redis = world.redis().await;
    until("the first has released the lock", async || {
        !redis.exists::<_, bool>(&lock).await.unwrap()
    })
    .await;
    let () = redis.set_ex(&lock, "another", 600).await.unwrap();

    let repeats = (0..16).map(|number| {
        let (client, code) = (world.at(number % 2).clone(), code.clone());
        async move { client.purchase(&code).await }
    });
    let repeats = at_once(repeats).await;

    for repeat in repeats {
        assert_eq!((repeat.status, repeat.content()), (200, first.content()));
        assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    }
    let owner: String = redis.get(&lock).await.unwrap();
    assert_eq!(owner, "another");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_after_a_timeout_gets_the_outcome_of_the_first() {
    let world = World::plan(2).set("http.request_timeout", "3s").start().await;
    let sale = world.create_sale("--items 5").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let hold = hold_buyer(world.pool(), "ann").await;

    let first = world.at(0).purchase(&code).await.is(503);
    assert!(first.header("retry-after").is_some());
    hold.rollback().await.unwrap();
    until("the outcome of the first is stored", async || {
        world.at(1).get(&format!("/purchases/{code}")).await.status == 200
    })
    .await;

    let again = world.at(1).purchase(&code).await.is(200);
    assert_eq!(again.at("/total_purchased"), 1);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    world.verify().await;
}

/// Sends the same purchase to both instances at once: both get the same answer, one of them as a repeat.
async fn twice_at_once(clients: Vec<Client>, code: String) -> (String, Answer) {
    let (one, other) = tokio::join!(clients[0].purchase(&code), clients[1].purchase(&code));
    assert_eq!(one.content(), other.content());
    let replayed = [&one, &other].map(|answer| answer.header("idempotent-replayed"));
    assert!([[None, Some("true")], [Some("true"), None]].contains(&replayed), "{replayed:?}");
    (code, one)
}

async fn assert_repeats(world: &World, first: &[(String, Answer)]) {
    for (code, answer) in first {
        for client in world.clients() {
            let again = client.purchase(code).await;
            assert_eq!(again.content(), answer.content());
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
        }
    }
}
