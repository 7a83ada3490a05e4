//! A PostgreSQL that stops responding, for good or for a while, costs bounded time and nothing else.

use std::time::Duration;

use reqwest::Method;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::client::{checkout_path, purchase_path};
use crate::harness::locks::waiting;
use crate::harness::{World, eventually, until};

/// Maximum wait for a response: far longer than `http.request_timeout` here, and far shorter than every other limit.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// The length of a stall.
const STALL: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_abandoned_and_the_sale_goes_on() {
    let mut world =
        World::plan(1).through_a_proxy().set("database.statement_timeout", "2s").start().await;
    let sale = world.create_sale("--items 20").await;
    for buyer in 1..=5 {
        world.at(0).buys(&sale, &format!("early-{buyer}"), &buyer.to_string()).await;
    }

    world.proxy.as_ref().unwrap().silence();

    until("checkouts are served again", async || {
        world.at(0).checkout(&sale, "patient", "6").await.status == 200
    })
    .await;
    for buyer in 7..=12 {
        world.at(0).buys(&sale, &format!("late-{buyer}"), &buyer.to_string()).await;
    }
    world.every_piece_is_sold_or_buyable(&sale, 20).await;
    world.verify().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_stalls_costs_every_caller_a_bounded_wait_and_nothing_else() {
    let mut world =
        World::plan(1).through_a_proxy().set("http.request_timeout", "2s").start().await;
    let sale = world.create_sale("--items 60").await;
    let mut codes = Vec::new();
    for number in 1..=10 {
        let (user, item) = (format!("early-{number}"), number.to_string());
        codes.push(world.at(0).collects(&sale, &user, &item).await);
    }
    let bought = world.at(0).buys(&sale, "first", "60").await;
    let mut paths: Vec<_> = codes.iter().map(|code| (Method::POST, purchase_path(code))).collect();
    for number in 11..=30 {
        let (user, item) = (format!("late-{number}"), number.to_string());
        paths.push((Method::POST, checkout_path(&sale, &user, &item)));
    }
    paths.push((Method::GET, format!("/sales/{sale}")));
    paths.push((Method::GET, format!("/purchases/{bought}")));

    world.proxy.as_ref().unwrap().stall(true);
    let since = Instant::now();
    let client = world.at(0).clone();
    let mut asked: JoinSet<_> = paths
        .into_iter()
        .map(|(method, path)| {
            let client = client.clone();
            async move {
                let answer = client.attempt(method, &path, MAX_WAIT).await;
                (answer, path)
            }
        })
        .collect();
    while let Some(ended) = asked.join_next().await {
        let (answer, path) = ended.unwrap();
        let answer = answer.unwrap_or_else(|| panic!("no response to {path} in time"));
        assert!([200, 503].contains(&answer.status), "{path}: {}", answer.body);
        assert!(answer.status == 200 || answer.header("retry-after").is_some());
    }
    tokio::time::sleep_until(since + STALL).await;
    world.proxy.as_ref().unwrap().stall(false);

    until("checkouts are served again", async || {
        world.at(0).checkout(&sale, "patient", "31").await.status == 200
    })
    .await;
    for code in &codes {
        let answer = eventually("the purchase is answered", async || {
            let answer = world.at(0).purchase(code).await;
            assert!([200, 503].contains(&answer.status), "{}", answer.body);
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert_eq!(answer.at("/total_purchased"), 1);
    }
    world.every_piece_is_sold_or_buyable(&sale, 60).await;
    world.verify().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_after_a_lost_reply_to_a_commit_gets_the_outcome() {
    let world = World::plan(1)
        .through_a_proxy()
        .set("batch.retries", "0")
        .set("database.statement_timeout", "8s")
        .start()
        .await;
    let sale = world.create_sale("--items 2").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let mut hold = commits_wait(&world).await;
    let (client, path) = (world.at(0).clone(), purchase_path(&code));
    let mut first = JoinSet::from_iter([async move { client.post(&path).await }]);
    waiting(world.pool(), 1).await;

    world.proxy.as_ref().unwrap().silence();
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut *hold).await.unwrap();

    let first = first.join_next().await.unwrap().unwrap().is(503);
    assert!(first.header("retry-after").is_some());
    let again = world.at(0).purchase(&code).await.is(200);
    assert_eq!(again.at("/total_purchased"), 1);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    world.sells_exactly(&sale, 1).await;
    world.verify().await;
}

/// From now on, a purchase waits in its commit until this connection releases its advisory locks.
async fn commits_wait(world: &World) -> PoolConnection<Postgres> {
    let sql = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
                   AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
               CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON purchases_from_0
                   DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();";
    sqlx::raw_sql(sql).execute(world.pool()).await.unwrap();
    let mut hold = world.pool().acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(4711)").execute(&mut *hold).await.unwrap();
    hold
}
