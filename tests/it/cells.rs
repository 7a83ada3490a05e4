//! Cells: a database gives the numbers of its cell, and is used as no other one.

use crate::harness::{Program, World};

/// The cell of an installation's second database, and its first sale: 2^40 in the alphabet of ids.
const SECOND: (&str, &str) = ("1", "S-100000000");

#[tokio::test(flavor = "multi_thread")]
async fn the_sales_and_codes_of_the_second_cell_have_its_numbers() {
    let mut world = World::plan(2).empty_database().set("database.cell", SECOND.0).start().await;

    let first = world.create_sale("--items 5").await;
    let second = world.create_sale("--items 5").await;
    let code = world.at(0).collects(&first, "ann", "1").await;

    assert_eq!((first.as_str(), second.as_str()), (SECOND.1, "S-100000001"));
    assert!(code.starts_with(&format!("CHK-{first}-")), "{code}");
    world.at(1).purchase(&code).await.is(200);
    world.at(0).purchase(&code).await.is(200);
    let attempts = "SELECT DISTINCT id >> 40 FROM checkout_attempts";
    let cells: Vec<i64> = sqlx::query_scalar(attempts).fetch_all(world.pool()).await.unwrap();
    assert_eq!(cells, [1]);
    world.restart().await;
    world.at(0).buys(&second, "bob", "2").await;
    world.sells_exactly(&first, 1).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_of_another_cell_is_refused_by_every_command() {
    for (own, other) in [("0", "1"), (SECOND.0, "0")] {
        let world = World::plan(0).empty_database().set("database.cell", own).start().await;
        world.program.run(&["migrate"]).await.succeeded();
        world.program.run(&["migrate"]).await.succeeded();
        let wrong = world.program.clone().set("database.cell", other);

        for command in [&["serve"][..], &["worker"], &["migrate"], &["sale", "list"], &["verify"]] {
            let refused = wrong.run(command).await;

            assert!(refused.code.is_some_and(|code| code != 0), "{command:?}: {refused}");
            let advice = format!("set database.cell to {own}");
            assert!(refused.stderr.contains(&advice), "{command:?}: {refused}");
            assert!(!refused.stderr.contains("panicked"), "{refused}");
        }
        // Nothing was changed.
        world.create_sale("--items 1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_may_not_migrate_names_the_command_that_sets_the_cell() {
    let world = World::plan(0).empty_database().set("database.cell", SECOND.0).start().await;
    world.program.run(&["migrate"]).await.succeeded();
    // As after a process that died between the schema and the cell.
    sqlx::query("DELETE FROM cell").execute(world.pool()).await.unwrap();
    let unprivileged = world.program.clone().set("database.migrate_on_start", "false");

    let refused = unprivileged.run(&["serve"]).await;

    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    assert!(refused.stderr.contains("`flash-sale migrate`"), "{refused}");
    world.program.run(&["migrate"]).await.succeeded();
    assert_eq!(world.create_sale("--items 1").await, SECOND.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_whose_numbers_do_not_fit_is_refused() {
    for number in ["-1", "8388608", "one"] {
        let refused = Program::new().set("database.cell", number).run(&["migrate"]).await;

        assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
        assert!(refused.stderr.contains("database.cell"), "{refused}");
        assert!(refused.stderr.contains("8388607"), "{refused}");
    }
}
