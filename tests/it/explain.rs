//! `flash-sale explain`, and the log of slow statements.

use serde_json::Value;

use crate::harness::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_is_explained_with_its_plan() {
    let world = World::of(1).await;

    let list = world.prints("explain").await;

    assert_eq!(list["next_cursor"], Value::Null);
    let rows = list["data"].as_array().unwrap();
    assert!(rows.len() > 50, "{}", rows.len());
    for row in rows {
        assert!(row["name"].is_string() && row["fingerprint"].is_string(), "{row}");
        assert!(row["statement"].as_str().unwrap().contains(' '), "{row}");
        assert!(row["plan"][0]["Plan"]["Node Type"].is_string(), "{row}");
    }
    let one = world.prints("explain write_purchases").await;
    assert_eq!(one["name"], "write_purchases");
    assert!(one["plan"][0]["Plan"]["Actual Rows"].is_null(), "{one}");
    let shown =
        world.program.run(&["explain", "live_sales", "--output", "table"]).await.succeeded();
    assert!(shown.stdout.starts_with("live_sales ("), "{shown}");
    assert!(shown.stdout.contains("Index Scan"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_statement_is_refused_with_the_names_that_exist() {
    let world = World::of(1).await;

    let refused = world.program.run(&["explain", "dishes"]).await;

    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused}");
    let complaint = refused.complaint().join(" ");
    for word in ["dishes", "read_checkouts", "write_purchases", "live_sales"] {
        assert!(complaint.contains(word), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_are_run_leave_a_sale_as_it_is() {
    let world = World::of(2).await;
    let without = world.program.run(&["explain", "--analyze"]).await;
    assert_eq!(without.code, Some(1), "{without}");
    assert!(without.complaint().join(" ").contains("sale create"), "{without}");
    let sale = world.create_sale("--items 3 --stock 2").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.at(1).checkout(&sale, "bob", "2").await.is(200);

    let ran = world.prints("explain --analyze").await;

    for row in ran["data"].as_array().unwrap() {
        assert!(row["plan"][0]["Execution Time"].is_number(), "{row}");
    }
    assert_eq!(world.sale(&sale).await["sold"], 1);
    world.at(0).buys(&sale, "bob", "2").await;
    world.at(1).buys(&sale, "cat", "1").await;
    world.sells_exactly(&sale, 3).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_statement_is_logged_by_its_name_without_its_text() {
    let world = World::plan(1).set("database.slow_statement", "100ms").start().await;
    let mut holder = world.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE sales IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();

    let slow = eventually("a slow statement is logged", async || {
        let records = world.instances[0].process.stderr.records();
        records.into_iter().find(|record| {
            record["message"] == "slow statement" && record["statement"] == "live_sales"
        })
    })
    .await;

    holder.rollback().await.unwrap();
    assert_eq!(slow["level"], "WARN");
    assert!(slow["elapsed_ms"].as_f64().unwrap() >= 100.0, "{slow}");
    let explained = world.prints("explain live_sales").await;
    assert_eq!(slow["fingerprint"], explained["fingerprint"]);
    let log = world.instances[0].process.stderr.text();
    assert!(!log.contains("SELECT"), "{log}");
}
