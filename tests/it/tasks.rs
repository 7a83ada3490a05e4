//! No task of a request is left behind.

use reqwest::Method;
use tokio::task::JoinSet;

use crate::harness::client::{checkout_path, purchase_path};
use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{Dice, PATIENCE, Wire, World, until, wire};

/// Requests of each kind in a storm.
const REQUESTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn after_timeouts_hang_ups_and_cut_sessions_no_task_is_left() {
    let mut world = World::plan(1)
        .set("http.request_timeout", "4s")
        .set("batch.queue_timeout", "1s")
        .set("batch.queue_size", "32")
        .start()
        .await;
    let sale = world.create_sale("--items 500").await;
    world.at(0).buys(&sale, "bob", "9").await;
    let at_rest = tasks(&world).await;

    let (mut statuses, mut held) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let (who, item) = (format!("ann-{round}"), (round + 1).to_string());
        let code = world.at(0).collects(&sale, &who, &item).await;
        statuses.extend(storm(&world, &sale, (&who, &code), (round, at_rest)).await);
        held.push(code);
    }

    assert!(statuses.contains(&503), "no request was refused: {statuses:?}");
    assert!(statuses.contains(&200), "no request was served: {statuses:?}");
    until("no task is left of the storms", async || tasks(&world).await <= at_rest).await;
    for code in held {
        world.at(0).purchase(&code).await.is(200);
    }
    world.at(0).buys(&sale, "zoe", "8").await;
    world.verify().await;
    world.stop().await;
}

/// Sends many requests while one buyer's row is locked for longer than they may take. Half of the clients hang up, and PostgreSQL
/// terminates all sessions meanwhile. Returns the statuses that the other half got.
async fn storm(
    world: &World,
    sale: &str,
    (who, code): (&str, &str),
    (round, at_rest): (usize, f64),
) -> Vec<u16> {
    let hold = hold_buyer(world.pool(), who).await;
    let mut waiting_clients = JoinSet::new();
    let mut left = Vec::new();
    let mut dice = Dice::new(u64::try_from(round).unwrap());
    for number in 0..REQUESTS {
        let (user, item) = (format!("buyer-{round}-{number}"), (number + 10).to_string());
        let wish = checkout_path(sale, &user, &item);
        let path = if number % 4 == 0 { purchase_path(code) } else { wish };
        let request = wire::request("POST", &path);
        let client = world.at(0).clone();
        waiting_clients.spawn(async move { client.attempt(Method::POST, &path, PATIENCE).await });
        let sent = if dice.below(4) == 0 { dice.below(request.len()) } else { request.len() };
        let mut wire = Wire::connect(world.at(0).address).await.unwrap();
        assert!(wire.send(&request[..sent]).await);
        left.push(wire);
    }
    waiting(world.pool(), 1).await;
    let busy = at_rest + 20.0;
    until("the requests are in progress", async || tasks(world).await > busy).await;
    drop(left);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'flash-sale'";
    sqlx::query(cut).execute(world.pool()).await.unwrap();

    let answers = waiting_clients.join_all().await;

    hold.rollback().await.unwrap();
    answers.into_iter().map(|answer| answer.unwrap().status).collect()
}

/// Tasks of the first instance, including that of the connection that reads the metric.
async fn tasks(world: &World) -> f64 {
    world.metrics(0).await.sum("flash_sale_tasks", &[])
}
