//! Nothing that ran for a request is left behind.

use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinSet;

use crate::harness::client::{checkout_path, purchase_path};
use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{Dice, Wire, World, until, wire};

/// Requests of each kind in a storm.
const REQUESTS: usize = 40;
/// Longest wait for one of them.
const ANSWER: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn after_timeouts_hang_ups_and_cut_sessions_no_task_is_left() {
    let mut world = World::plan(1)
        .set("http.request_timeout", "1s")
        .set("batch.queue_timeout", "400ms")
        .set("batch.queue_size", "32")
        .start()
        .await;
    let sale = world.create_sale("--items 500").await;
    world.at(0).buys(&sale, "bob", "9").await;
    let at_rest = tasks(&world).await;

    let (mut told, mut held) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let (who, item) = (format!("ann-{round}"), (round + 1).to_string());
        let code = world.at(0).collects(&sale, &who, &item).await;
        told.extend(storm(&world, &sale, (&who, &code), (round, at_rest)).await);
        held.push(code);
    }

    assert!(told.contains(&503), "nobody was turned away: {told:?}");
    assert!(told.contains(&200), "nobody was served: {told:?}");
    until("no task is left of the storms", async || tasks(&world).await <= at_rest).await;
    for code in held {
        world.at(0).purchase(&code).await.is(200);
    }
    world.at(0).buys(&sale, "zoe", "8").await;
    world.verify().await;
    world.stop().await;
}

/// Many requests while one buyer's row is held for longer than they wait, half of them without waiting for the answer;
/// in the middle of it PostgreSQL drops all sessions. What the others were told.
async fn storm(
    world: &World,
    sale: &str,
    (who, code): (&str, &str),
    (round, at_rest): (usize, f64),
) -> Vec<u16> {
    let hold = hold_buyer(world.pool(), who).await;
    let mut told = JoinSet::new();
    let mut left = Vec::new();
    let mut dice = Dice::new(u64::try_from(round).unwrap());
    for number in 0..REQUESTS {
        let (user, item) = (format!("buyer-{round}-{number}"), (number + 10).to_string());
        let wish = checkout_path(sale, &user, &item);
        let path = if number % 4 == 0 { purchase_path(code) } else { wish };
        let request = wire::request("POST", &path);
        let client = world.at(0).clone();
        told.spawn(async move { client.attempt(Method::POST, &path, ANSWER).await });
        let sent = if dice.below(4) == 0 { dice.below(request.len()) } else { request.len() };
        let mut wire = Wire::connect(world.at(0).address).await.unwrap();
        assert!(wire.send(&request[..sent]).await);
        left.push(wire);
    }
    waiting(world.pool(), 1).await;
    let busy = at_rest + 20.0;
    until("the storm is on", async || tasks(world).await > busy).await;
    drop(left);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'flash-sale'";
    sqlx::query(cut).execute(world.pool()).await.unwrap();

    let answers = told.join_all().await;

    hold.rollback().await.unwrap();
    answers.into_iter().map(|answer| answer.unwrap().status).collect()
}

/// Tasks of the first instance, that of the connection which asks among them.
async fn tasks(world: &World) -> f64 {
    world.metrics(0).await.sum("flash_sale_tasks", &[])
}
