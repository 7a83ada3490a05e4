//! The report of a sale says what its clients were told, while it sells and after it was closed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{World, until};

/// Ends a sale in a moment, as docs/sales.md does.
const END: &str = "UPDATE sales SET ends_at = clock_timestamp() + interval '1 second', generation = generation + 1 \
                   WHERE public_id = $1";
const EVENTS: &str = "SELECT o.batch::text, o.data::text FROM outbox AS o JOIN sales AS s ON s.id = o.sale_id \
                      WHERE o.kind = 'sale.ended' AND s.public_id = $1 ORDER BY o.id";

/// The report as JSON.
async fn report(world: &World, sale: &str) -> Value {
    let ran = world.program.run(&["sale", "report", sale]).await.succeeded();
    assert_eq!(ran.stdout.lines().count(), 1, "{ran}");
    serde_json::from_str(&ran.stdout).unwrap()
}

async fn end(world: &World, sale: &str) {
    sqlx::query(END).bind(sale).execute(world.pool()).await.unwrap();
}

async fn final_report(world: &World, sale: &str) -> Value {
    until("the sale is closed", async || report(world, sale).await["final"] == true).await;
    report(world, sale).await
}

async fn events(world: &World, sale: &str) -> Vec<(String, Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as(EVENTS).bind(sale).fetch_all(world.pool()).await.unwrap();
    rows.into_iter().map(|(id, data)| (id, serde_json::from_str(&data).unwrap())).collect()
}

/// The sum of a figure over all intervals.
fn sum(report: &Value, figure: &str) -> i64 {
    report["per_second"].as_array().unwrap().iter().map(|one| one[figure].as_i64().unwrap()).sum()
}

/// Sells the three pieces of a sale to ann and bob through both instances, and asks for more. Returns what was refused.
async fn sell_out(world: &World, sale: &str) -> BTreeMap<String, i64> {
    world.at(0).buys(sale, "ann", "1").await;
    world.at(1).buys(sale, "ann", "2").await;
    let late = world.at(1).collects(sale, "eve", "3").await;
    world.at(0).buys(sale, "bob", "3").await;
    world.at(1).purchase(&late).await.refuses(409, "items_already_sold");
    let mut refused = BTreeMap::new();
    for (instance, item) in [(0, "1"), (1, "2"), (0, "9"), (1, "9"), (0, "9")] {
        let (status, code) = world.at(instance).checkout(sale, "zoe", item).await.status_and_code();
        assert!(status >= 400, "{code}");
        *refused.entry(code).or_default() += 1;
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_the_figures_that_clients_were_told_and_is_stored_with_the_event_of_the_end() {
    let world = World::plan(2).set("jobs.enabled", "true").start().await;
    let sale = world.create_sale("--items 3 --buyer-limit 5").await;
    let refused = sell_out(&world, &sale).await;
    until("all refusals are on record", async || {
        report(&world, &sale).await["refusals"] == json!(refused)
    })
    .await;
    let so_far = report(&world, &sale).await;

    end(&world, &sale).await;
    let last = final_report(&world, &sale).await;

    assert_eq!(so_far["final"], false);
    for report in [&so_far, &last] {
        let figures = ["pieces", "sold", "buyers", "checkouts", "purchases"];
        assert_eq!(figures.map(|figure| report[figure].as_i64().unwrap()), [3, 3, 2, 4, 3]);
        assert_eq!(report["unsuccessful_purchases"], 1);
        assert_eq!(report["refusals"], json!(refused));
        let time = |name: &str| {
            report[name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap()
        };
        let between = (time("sold_out_at") - time("starts_at")).num_milliseconds();
        let seconds = f64::from(i32::try_from(between).unwrap()) / 1_000.0;
        assert_eq!(report["seconds_to_sell_out"], seconds);
        assert_eq!((sum(report, "sold"), sum(report, "purchases")), (3, 3));
        assert_eq!((sum(report, "checkouts"), sum(report, "refusals")), (4, 5));
        assert!(report["peak_sold_per_second"].as_i64().unwrap() >= 1, "{report}");
        assert!(report["slowest_second"]["sold"].as_i64().is_some(), "{report}");
    }
    let events = events(&world, &sale).await;
    assert_eq!(events.len(), 1, "two instances close it");
    assert_eq!(events[0].1, last);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_a_picture_and_a_table_too() {
    let world = World::plan(1).set("jobs.enabled", "true").start().await;
    let sale = world.create_sale("--items 3 --name Socks&Shoes").await;
    world.at(0).buys(&sale, "ann", "1").await;

    let picture = world.program.run(&["sale", "report", &sale, "--output", "svg"]).await;
    let table = world.program.run(&["sale", "report", &sale, "--output", "table"]).await;

    let picture = picture.succeeded().stdout;
    assert!(picture.starts_with("<svg xmlns=") && picture.trim_end().ends_with("</svg>"));
    for part in ["<title id=", "<desc id=", "role=\"img\"", "Socks&amp;Shoes", "1 of 3 pieces"] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    let table = table.succeeded().stdout;
    assert!(
        table.contains("1 of 3") && table.contains("so far") && !table.contains('{'),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_has_not_begun_has_an_empty_report_and_an_unknown_one_none() {
    let world = World::plan(1).set("jobs.enabled", "true").start().await;
    let sale = world.create_sale("--items 3 --starts-in 1h").await;

    let empty = report(&world, &sale).await;
    let unknown = world.program.run(&["sale", "report", "S-ZZZ"]).await;

    assert_eq!(
        (&empty["final"], &empty["sold"], &empty["pieces"]),
        (&json!(false), &json!(0), &json!(3))
    );
    for nothing in ["sold_out_at", "seconds_to_sell_out", "peak_second", "slowest_second"] {
        assert_eq!(empty[nothing], Value::Null, "{nothing}");
    }
    assert_eq!(empty["per_second"], json!([]));
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""), "{unknown}");
    assert_eq!(unknown.complaint(), ["flash-sale: there is no sale S-ZZZ"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_is_extended_after_its_close_is_reported_again() {
    let world = World::plan(1).set("jobs.enabled", "true").start().await;
    let sale = world.create_sale("--items 3").await;
    world.at(0).buys(&sale, "ann", "1").await;
    end(&world, &sale).await;
    assert_eq!(final_report(&world, &sale).await["sold"], 1);

    let extend = "UPDATE sales SET ends_at = clock_timestamp() + interval '1 hour', generation = generation + 1";
    sqlx::query(extend).execute(world.pool()).await.unwrap();
    assert_eq!(report(&world, &sale).await["final"], false);
    until("it sells again", async || world.at(0).checkout(&sale, "bob", "2").await.status == 200)
        .await;
    let code = world.at(0).collects(&sale, "bob", "2").await;
    world.at(0).purchase(&code).await.is(200);
    end(&world, &sale).await;

    assert_eq!(final_report(&world, &sale).await["sold"], 2);
    let events = events(&world, &sale).await;
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].0, events[1].0);
}
