//! PostgreSQL dies and comes back.

use crate::harness::storm::assert_on_record;
use crate::harness::trouble::{CUT_SESSIONS, NO_ROOM, READ_ONLY, ROOM, WRITABLE};
use crate::harness::{Answer, Storm, World, until};

/// Unique items of a rush.
const ITEMS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgresql_costs_no_acknowledged_purchase_and_no_restart() {
    let world = World::plan(2).private_postgres().start().await;
    let postgres = world.postgres_server.as_ref().unwrap();
    let sale = world.create_sale(&format!("--items {} --stock 1", ITEMS + 1)).await;
    let before = world.at(0).buys(&sale, "early", &(ITEMS + 1).to_string()).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);
    storm.has_sold(ITEMS / 4).await;

    postgres.tell("kill-postgres");
    for instance in &world.instances {
        instance.readiness_is(503).await;
        assert_eq!(instance.monitor.get("/livez").await.status, 200);
        until("requests are told that it is away", async || {
            let answer = instance.client.checkout(&sale, "late", "1").await;
            // What sold out before may still be refused from memory, for a moment.
            assert!([409, 503].contains(&answer.status), "{}: {}", answer.status, answer.body);
            answer.status == 503 && answer.header("retry-after").is_some()
        })
        .await;
    }
    postgres.tell("start-postgres");

    let receipts = storm.receipts().await;
    assert_on_record(world.at(1), &receipts).await;
    world.at(0).get(&format!("/purchases/{before}")).await.is(200);
    world.sells_exactly(&sale, ITEMS + 1).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_sessions_are_replaced_without_anybody_noticing() {
    let world = World::of(2).await;
    let sale = world.create_sale(&format!("--items {ITEMS}")).await;
    let storm = Storm::over(&world.clients(), &sale, ITEMS);

    for quarter in 1..=3 {
        storm.has_sold(ITEMS / 4 * quarter).await;
        sqlx::query(CUT_SESSIONS).execute(world.pool()).await.unwrap();
    }

    let receipts = storm.receipts().await;
    assert_on_record(world.at(0), &receipts).await;
    world.sells_exactly(&sale, ITEMS).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_starts_before_postgresql_waits_for_it() {
    let mut world = World::plan(0)
        .set("database.retries", "40")
        .set("database.connect_timeout", "1s")
        .private_postgres()
        .start()
        .await;
    let postgres = world.postgres_server.as_ref().unwrap();
    postgres.tell("kill-postgres");

    let process = world.program.start(&["serve"]);
    until("it has tried to connect", async || !process.stderr.lines().is_empty()).await;
    postgres.tell("start-postgres");

    world.adopt(process).await;
    let sale = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_takes_no_writes_everybody_is_told_so_and_then_served() {
    let world = World::plan(2).private_postgres().start().await;
    let sale = world.create_sale("--items 10").await;
    let code = world.at(0).collects(&sale, "early", "1").await;
    let trouble: [(&[&'static str], &[&'static str]); 2] =
        [(&READ_ONLY, &WRITABLE), (&[NO_ROOM], &[ROOM])];

    for (begin, end) in trouble {
        for statement in begin {
            sqlx::raw_sql(*statement).execute(world.pool()).await.unwrap();
        }
        for instance in &world.instances {
            let told = async |answer: Answer| {
                answer.status == 503 && answer.header("retry-after").is_some()
            };
            until("checkouts are told", async || {
                told(instance.client.checkout(&sale, "late", "2").await).await
            })
            .await;
            until("purchases are told", async || told(instance.client.purchase(&code).await).await)
                .await;
        }
        for statement in end {
            sqlx::raw_sql(*statement).execute(world.pool()).await.unwrap();
        }
        for instance in &world.instances {
            until("it sells again", async || {
                instance.client.checkout(&sale, "late", "2").await.status == 200
            })
            .await;
        }
    }

    world.at(1).purchase(&code).await.is(200);
    world.every_piece_is_sold_or_buyable(&sale, 10).await;
    world.verify().await;
}
