//! PostgreSQL is killed and comes back.

use crate::harness::locks::waiting;
use crate::harness::metrics::Metrics;
use crate::harness::storm::assert_on_record;
use crate::harness::trouble::{
    CUT_SESSIONS, NO_ROOM, NO_STANDBY, READ_ONLY, ROOM, STANDBY_AWAY, WRITABLE,
};
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

    postgres.run("kill-postgres");
    for instance in &world.instances {
        instance.readiness_is(503).await;
        assert_eq!(instance.monitor.get("/livez").await.status, 200);
        until("requests get 503", async || {
            let answer = instance.client.checkout(&sale, "late", "1").await;
            // What has sold out may still be refused from memory, for a second.
            assert!([409, 503].contains(&answer.status), "{}: {}", answer.status, answer.body);
            answer.status == 503 && answer.header("retry-after").is_some()
        })
        .await;
    }
    postgres.run("start-postgres");

    let receipts = storm.receipts().await;
    for instance in &world.instances {
        instance.ready().await;
    }
    assert_on_record(world.at(1), &receipts).await;
    world.at(0).get(&format!("/purchases/{before}")).await.is(200);
    world.sells_exactly(&sale, ITEMS + 1).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_away_no_request_waits_for_it_and_its_return_is_noticed() {
    const ASKED: u32 = 20;
    // What waited for a connection would wait for this long.
    let plan = World::plan(1).private_postgres().set("database.connect_timeout", "2s");
    let world = plan.start().await;
    let postgres = world.postgres_server.as_ref().unwrap();
    let sale = world.create_sale("--items 20").await;
    let code = world.at(0).collects(&sale, "early", "1").await;
    assert!(circuit_is(&world, "closed").await);

    postgres.run("kill-postgres");
    until("the circuit is open", async || circuit_is(&world, "open").await).await;
    let before = world.metrics(0).await;
    for number in 0..ASKED {
        let user = format!("late-{number}");
        let answer = world.at(0).checkout(&sale, &user, "2").await.is(503);
        assert!(answer.header("retry-after").is_some());
        world.at(0).purchase(&code).await.is(503);
    }
    let after = world.metrics(0).await;
    let turned_away =
        |metrics: &Metrics| metrics.sum("flash_sale_db_errors_total", &["class=\"away\""]);
    assert!(turned_away(&after) >= turned_away(&before) + f64::from(2 * ASKED));
    let health = world.instances[0].monitor.get("/healthz").await.is(503);
    assert!(health.body.contains("postgresql is away: the circuit is"), "{}", health.body);
    postgres.run("start-postgres");

    until("the circuit is closed", async || circuit_is(&world, "closed").await).await;
    world.at(0).purchase(&code).await.is(200);
    // Each change is logged once, however many requests were refused.
    let records = world.instances[0].process.stderr.records();
    let of_postgres = records.iter().filter(|record| record["dependency"] == "postgresql");
    let changes = of_postgres.map(|record| record["message"].as_str().unwrap());
    let changes: Vec<_> = changes.filter(|message| message.contains("the circuit is")).collect();
    assert!(changes.len() >= 2 && changes.len().is_multiple_of(2), "{changes:?}");
    for pair in changes.chunks(2) {
        assert!(pair[0].contains("open") && pair[1].contains("closed"), "{changes:?}");
    }
    world.every_piece_is_sold_or_buyable(&sale, 20).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_does_not_open_the_circuit() {
    let world = World::plan(1)
        .set("database.max_connections", "2")
        .set("database.connect_timeout", "2s")
        .set("http.request_timeout", "8s")
        .start()
        .await;
    let sale = world.create_sale("--items 40").await;
    let code = world.at(0).collects(&sale, "early", "1").await;
    let mut hold = world.pool().begin().await.unwrap();
    let lock = "LOCK TABLE item_stock, buyers IN SHARE ROW EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut *hold).await.unwrap();

    let (purchase, checkout, reads) = tokio::join!(
        world.at(0).purchase(&code),
        world.at(0).checkout(&sale, "late", "2"),
        async {
            waiting(world.pool(), 2).await;
            let path = format!("/sales/{sale}/items?page=1");
            world.at(0).get(&path).await
        }
    );
    for answer in [purchase, checkout, reads] {
        assert_eq!(answer.status, 503, "{}", answer.body);
    }
    hold.rollback().await.unwrap();

    world.at(0).purchase(&code).await.is(200);
    let log = world.instances[0].process.stderr.text();
    assert!(!log.contains("the circuit is open"), "{log}");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_commits_nothing_is_reported_with_its_reason() {
    let world = World::plan(1).private_postgres().start().await;
    let sale = world.create_sale("--items 3").await;
    world.at(0).collects(&sale, "early", "1").await;
    let monitor = &world.instances[0].monitor;

    for statement in STANDBY_AWAY {
        sqlx::raw_sql(statement).execute(world.pool()).await.unwrap();
    }
    world.instances[0].readiness_is(503).await;
    let health = monitor.get("/healthz").await.is(503);
    assert_eq!(health.at("/checks/postgresql/status"), "no_writes", "{}", health.body);
    assert!(health.body.contains("synchronous standby"), "{}", health.body);
    // However often it is asked: its own commits do not pile up.
    monitor.get("/readyz").await.is(503);
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event = 'SyncRep' AND query LIKE '%pg_logical_emit_message%'";
    let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(world.pool()).await.unwrap();
    assert_eq!(waiting, 1);
    for statement in NO_STANDBY {
        sqlx::raw_sql(statement).execute(world.pool()).await.unwrap();
    }

    world.instances[0].ready().await;
    world.at(0).buys(&sale, "late", "2").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_that_is_forced_open_refuses_every_request() {
    let mut world = World::plan(0).set("database.circuit.mode", "open").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let sale = world.create_sale("--items 1").await;
    let process = world.program.start(&["serve"]);
    world.adopt(process).await;

    world.instances[0].readiness_is(503).await;
    let answer = world.at(0).get(&format!("/sales/{sale}")).await.is(503);
    assert!(answer.header("retry-after").is_some());
    assert!(circuit_is(&world, "open").await);
}

/// Whether the first instance's circuit to PostgreSQL is in a state.
async fn circuit_is(world: &World, state: &str) -> bool {
    let labels = ["dependency=\"postgresql\"", &format!("state=\"{state}\"")];
    world.metrics(0).await.sum("flash_sale_circuit_state", &labels) > 0.5
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_sessions_are_replaced_and_no_purchase_is_lost() {
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
    postgres.run("kill-postgres");

    let process = world.program.start(&["serve"]);
    until("it has tried to connect", async || !process.stderr.lines().is_empty()).await;
    postgres.run("start-postgres");

    world.adopt(process).await;
    let sale = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_accepts_no_writes_requests_get_503_and_then_succeed() {
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
            let is_refused =
                |answer: Answer| answer.status == 503 && answer.header("retry-after").is_some();
            until("checkouts get 503", async || {
                is_refused(instance.client.checkout(&sale, "late", "2").await)
            })
            .await;
            until("purchases get 503", async || is_refused(instance.client.purchase(&code).await))
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
