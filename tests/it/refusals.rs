//! Refused attempts are recorded: after a drain, the totals are exactly the refusals that clients received.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use crate::harness::{Answer, Client, World, at_once, until};

/// Number of refusals by sale, operation and reason.
type Totals = BTreeMap<(String, &'static str, String), i64>;

/// A refusal that a client received.
struct Refused {
    sale: String,
    operation: &'static str,
    answer: Answer,
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_drain_the_totals_are_what_clients_were_told() {
    // The last refusals are tried again after each timeout of the table's lock.
    let mut world = World::plan(2).set("database.lock_timeout", "200ms").start().await;
    let ended = world.create_sale("--items 5").await;
    let ended_code = world.at(0).collects(&ended, "ann", "1").await;
    let open = world.create_sale("--items 5").await;
    let sold_out = world.create_sale("--items 1").await;
    let upcoming = world.create_sale("--items 5 --starts-in 1h").await;
    world.at(0).buys(&open, "ann", "1").await;
    world.at(1).buys(&sold_out, "ann", "1").await;
    world.at(0).checkout_pieces(&open, "regular", "2", 1).await.is(200);
    world.end(&ended).await;
    // Refusals cannot be written until the test releases the lock.
    let mut hold = world.pool().begin().await.unwrap();
    let lock = "LOCK TABLE refusal_totals IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut *hold).await.unwrap();

    let clients = (0..6).map(|number| {
        let sales = [ended.clone(), open.clone(), sold_out.clone(), upcoming.clone()];
        ask_for_refusals(world.at(number % 2).clone(), sales, ended_code.clone())
    });
    let refused: Vec<Refused> = at_once(clients).await.into_iter().flatten().collect();
    // A malformed request, and one that names nothing that exists, is not a refused attempt.
    world.at(0).post("/checkout?user_id=&item_id=1").await.is(400);
    world.at(0).checkout("S-ZZZ", "ann", "1").await.is(404);
    world.at(0).purchase("CHK-S-1-nonsense").await.is(404);
    for instance in &world.instances {
        instance.process.signal(Signal::SIGTERM);
    }
    for instance in &mut world.instances {
        until("it tries to write them at the end", async || {
            assert!(!instance.process.has_ended(), "it ended before it wrote its refusals");
            instance.process.stderr.text().contains("the last refusals are not written yet")
        })
        .await;
    }
    hold.rollback().await.unwrap();
    for mut instance in world.instances.drain(..) {
        assert_eq!(instance.process.exit().await, Some(0));
    }

    assert!(refused.iter().all(|refused| refused.answer.status >= 400));
    assert_eq!(on_record(&world).await, totals(&refused));
    let details = "SELECT count(*) FROM checkout_refusals";
    let details: i64 = sqlx::query_scalar(details).fetch_one(world.pool()).await.unwrap();
    let detailed = "SELECT sum(detailed)::bigint FROM refusal_totals";
    let detailed: i64 = sqlx::query_scalar(detailed).fetch_one(world.pool()).await.unwrap();
    assert_eq!(details, detailed);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_written_while_the_service_runs() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 1").await;
    world.at(0).buys(&sale, "ann", "1").await;

    let mut refused = Vec::new();
    for _ in 0..10 {
        let answer = world.at(0).checkout(&sale, "bob", "1").await;
        refused.push(Refused { sale: sale.clone(), operation: "checkout", answer });
    }

    until("refusals are on record", async || on_record(&world).await == totals(&refused)).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_costs_the_last_refusals_alone_and_counts_none_twice() {
    let mut world = World::of(2).await;
    let sale = world.create_sale("--items 1").await;
    world.at(0).buys(&sale, "ann", "1").await;
    let refuse = async |client: Client| {
        let answer = client.checkout(&sale, "bob", "1").await;
        Refused { sale: sale.clone(), operation: "checkout", answer }
    };
    let mut refused = Vec::new();
    for number in 0..40 {
        refused.push(refuse(world.at(number % 2).clone()).await);
    }
    until("refusals are on record", async || on_record(&world).await == totals(&refused)).await;
    let written: i64 = totals(&refused).into_values().sum();

    for _ in 0..40 {
        refused.push(refuse(world.at(0).clone()).await);
    }
    let mut killed = world.instances.remove(0);
    killed.process.signal(Signal::SIGKILL);
    killed.process.exit().await;
    // The other instance and a new one write theirs: each of these must be recorded once.
    world.start(1).await;
    let since: Vec<Refused> =
        vec![refuse(world.at(0).clone()).await, refuse(world.at(1).clone()).await];
    world.stop().await;

    let on_record: i64 = on_record(&world).await.into_values().sum();
    let answered: i64 = totals(&refused).into_values().sum();
    let after: i64 = totals(&since).into_values().sum();
    assert!(on_record >= written + after, "{on_record} of {written} and {after}");
    assert!(on_record <= answered + after, "{on_record} of {answered} and {after}");
    world.verify().await;
}

/// Every kind of refusal, many times.
async fn ask_for_refusals(client: Client, sales: [String; 4], ended_code: String) -> Vec<Refused> {
    let [ended, open, sold_out, upcoming] = sales;
    let mut refused = Vec::new();
    for round in 0..15 {
        let user = format!("buyer-{round}");
        for (sale, user, item, pieces) in [
            (&ended, user.as_str(), "1", 1),
            (&upcoming, &user, "1", 1),
            (&sold_out, &user, "1", 1),
            (&open, &user, "1", 1),
            (&open, &user, "unknown", 1),
            (&open, "regular", "3", 10),
        ] {
            let answer = client.checkout_pieces(sale, user, item, pieces).await;
            refused.push(Refused { sale: sale.clone(), operation: "checkout", answer });
        }
        let answer = client.purchase(&ended_code).await;
        refused.push(Refused { sale: ended.clone(), operation: "purchase", answer });
    }
    refused
}

fn totals(refused: &[Refused]) -> Totals {
    let mut totals = Totals::new();
    for Refused { sale, operation, answer } in refused {
        let reason = match answer.status_and_code().1.as_str() {
            "user_limit_exceeded" => "buyer_limit".to_owned(),
            code => code.to_owned(),
        };
        *totals.entry((sale.clone(), operation, reason)).or_default() += 1;
    }
    totals
}

async fn on_record(world: &World) -> Totals {
    let totals = "SELECT s.public_id, t.operation, t.reason, t.total \
                  FROM refusal_totals t JOIN sales s ON s.id = t.sale_id WHERE t.total > 0";
    let rows: Vec<(String, String, String, i64)> =
        sqlx::query_as(totals).fetch_all(world.pool()).await.unwrap();
    let entries = rows.into_iter().map(|(sale, operation, reason, total)| {
        let operation = if operation == "checkout" { "checkout" } else { "purchase" };
        ((sale, operation, reason), total)
    });
    entries.collect()
}
