//! The start: what fails it, and with which message.

use std::time::Duration;

use crate::harness::{Program, World};
use crate::proxy::{Way, Ways};

/// A key for the production profile.
const KEY: &str = "k1:c29tZSByZWFsIHByb2R1Y3Rpb24ga2V5IQ==";

#[tokio::test(flavor = "multi_thread")]
async fn every_unknown_key_and_every_bad_value_is_named_at_once() {
    let wrong = Program::new()
        .set("no.such", "1")
        .set("http.prot", "1")
        .set("schedule.items", "0")
        .set("board.poll_interval", "5s")
        .set("database.max_connections", "0")
        .set("http.max_head_bytes", "1")
        .set("batch.queue_size", "0");

    let refused = wrong.run(&["serve"]).await;

    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    for key in [
        "no.such",
        "http.prot",
        "schedule.items",
        "board.poll_interval",
        "database.max_connections",
        "http.max_head_bytes",
        "batch.queue_size",
    ] {
        assert!(refused.stderr.contains(key), "{key} is not named: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_wrong_kind_is_named() {
    let wrong = [
        ("http.port", "99999"),
        ("http.port", "-1"),
        ("http.port", "http"),
        ("http.request_timeout", "soon"),
        ("schedule.enabled", "perhaps"),
        ("schedule.cron", "every now and then"),
        ("schedule.time_zone", "Moon/Tranquillity"),
        ("database.ssl_mode", "maybe"),
        ("log.format", "xml"),
        ("checkout.code_keys", "k1:!!!"),
        ("checkout.code_keys", "k1:c2hvcnQ="),
        ("checkout.code_keys", "nonsense"),
    ];

    for (key, value) in wrong {
        let refused = Program::new().set(key, value).run(&["serve"]).await;
        assert!(refused.code.is_some_and(|code| code != 0), "{key}={value}: {refused}");
        assert!(refused.stderr.contains(key), "{key}={value}: {refused}");
        assert!(!refused.stderr.contains("panicked"), "{key}={value}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_profile_is_refused_and_a_missing_one_is_development_with_a_warning() {
    let refused = Program::new().variable("FLASH_SALE_ENV", "nonsense").run(&["serve"]).await;
    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    assert!(refused.stderr.contains("FLASH_SALE_ENV"), "{refused}");

    let mut world = World::plan(0).start().await;
    world.program = world.program.clone().without("FLASH_SALE_ENV");
    world.start(1).await;

    let records = world.instances[0].process.stderr.records();
    let warned = records
        .iter()
        .any(|record| record["level"] == "WARN" && record.to_string().contains("FLASH_SALE_ENV"));
    assert!(warned, "no warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_production_profile_requires_a_key_of_its_own() {
    let mut world = World::plan(0).start().await;
    let production = world.program.clone().variable("FLASH_SALE_ENV", "production");
    let development = "development:Zmxhc2gtc2FsZSBkZXZlbG9wbWVudCBrZXkhIQ==";
    let smuggled = format!("{KEY},{development}");

    let keyless = production.clone();
    for program in [
        keyless,
        production.clone().set("checkout.code_keys", development),
        production.clone().set("checkout.code_keys", &smuggled),
    ] {
        let refused = program.run(&["serve"]).await;
        assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
        assert!(refused.stderr.contains("checkout.code_keys"), "{refused}");
    }

    world.program = production
        .set("checkout.code_keys", KEY)
        .set("http.host", "127.0.0.1")
        .set("monitoring.host", "127.0.0.1");
    world.start(1).await;
    let sale = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    // The buyers' port does not serve metrics.
    world.at(0).get("/metrics").await.refuses(404, "route_not_found");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_one_step_ahead_is_served() {
    let mut world = World::plan(0).start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let ahead = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999999, 'of the next release', true, 'x'::bytea, 1)";
    sqlx::query(ahead).execute(world.pool()).await.unwrap();

    world.start(2).await;

    let sale = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.at(1).buys(&sale, "bob", "2").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_schema_it_names_the_command_to_run_and_ends() {
    let world =
        World::plan(0).empty_database().set("database.migrate_on_start", "false").start().await;

    let refused = world.program.run(&["serve"]).await;

    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("flash-sale migrate"), "{refused}");
    assert!(!refused.stderr.contains("panicked"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let world = World::of(1).await;
    let taken = world.at(0).address.port().to_string();

    let refused = world.program.clone().set("http.port", &taken).run(&["serve"]).await;

    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    assert!(refused.stderr.contains(&taken), "{refused}");
    world.at(0).get("/sales/active").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_database_is_named_in_the_last_line() {
    let nowhere = Program::new()
        .variable("DATABASE_URL", "postgres://nobody@127.0.0.1:9/nothing")
        .set("database.retries", "2")
        .set("database.connect_timeout", "300ms")
        .set("database.retry_delay", "10ms");

    let refused = nowhere.run(&["serve"]).await;

    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    let last = refused.stderr.lines().last().unwrap_or_default().to_lowercase();
    assert!(last.contains("database") || last.contains("postgresql"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_keeps_its_session_between_the_statements_of_a_migration() {
    let world = World::plan(0)
        .empty_database()
        .through_a_proxy()
        .set("database.idle_in_transaction_session_timeout", "10ms")
        .start()
        .await;
    let late = Way::Delayed(Duration::from_millis(30));
    world.proxy.as_ref().unwrap().lead(Ways::both(late));

    let migrated = world.program.run(&["migrate"]).await;

    assert_eq!(migrated.code, Some(0), "{migrated}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_at_once_and_each_other_try_is_reported() {
    let world = World::plan(0).private_postgres().start().await;
    let role = "CREATE ROLE locked_out LOGIN; ALTER ROLE locked_out NOLOGIN";
    sqlx::raw_sql(role).execute(world.pool()).await.unwrap();
    let mut url = reqwest::Url::parse(world.program.value("DATABASE_URL")).unwrap();
    url.set_username("locked_out").unwrap();

    let refused =
        world.program.clone().variable("DATABASE_URL", url.as_str()).run(&["migrate"]).await;
    let nothing_there = "postgres://ann@127.0.0.1:1/shop";
    let program = world.program.clone().variable("DATABASE_URL", nothing_there);
    let program = program.set("database.retries", "2").set("database.retry_delay", "1ms");
    let absent = program.run(&["migrate"]).await;

    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("trying again would not help"), "{refused}");
    assert!(!refused.stderr.contains("cannot connect to postgresql"), "{refused}");
    assert_eq!(absent.code, Some(1), "{absent}");
    assert_eq!(absent.stderr.matches("cannot connect to postgresql").count(), 2, "{absent}");
}
