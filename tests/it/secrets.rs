//! The log, errors and metrics contain no secret and name no buyer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use reqwest::Url;

use crate::harness::{Program, World};

/// A password that occurs nowhere by chance.
const PASSWORD: &str = "hunter2-marker-password";
/// A key that occurs nowhere by chance.
const KEY: &str = "marker-key-0123456789";

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_keys_are_never_written_out() {
    let mut world = World::plan(0).set("log.level", "debug").start().await;
    let keys = format!("k1:{}", STANDARD.encode(KEY));
    let url = with_password(world.program.value("DATABASE_URL"));
    world.program =
        world.program.clone().variable("DATABASE_URL", &url).set("checkout.code_keys", &keys);
    world.start(1).await;
    let sale = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    let numbers = world.instances[0].monitor.get("/metrics").await.body;
    let health = world.instances[0].monitor.get("/healthz").await.body;

    let mut instance = world.instances.remove(0);
    instance.process.signal(Signal::SIGTERM);
    instance.process.exit().await;

    let (out, log) = (instance.process.stdout.text(), instance.process.stderr.text());
    assert!(log.len() > 100);
    for text in [out, log, numbers, health] {
        assert_has_no_secret(&text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_does_not_write_them_either() {
    let program = Program::new()
        .variable("DATABASE_URL", &format!("postgres://nobody:{PASSWORD}@127.0.0.1:9/nothing"))
        .variable("REDIS_URL", &format!("redis://nobody:{PASSWORD}@127.0.0.1:9/0"))
        .set("checkout.code_keys", &format!("k1:{}", STANDARD.encode(KEY)))
        .set("database.retries", "1")
        .set("database.connect_timeout", "300ms")
        .set("log.level", "debug");

    for (program, arguments) in [
        (program.clone(), vec!["serve"]),
        (program.clone(), vec!["migrate"]),
        (program.clone(), vec!["verify"]),
        (program.clone().set("http.port", "none"), vec!["serve"]),
        (program.clone().variable("DATABASE_URL", &format!("nonsense:{PASSWORD}@")), vec!["serve"]),
        (program.clone().set("checkout.code_keys", &format!("{KEY}:{KEY}")), vec!["serve"]),
    ] {
        let refused = program.run(&arguments).await;
        assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
        assert_has_no_secret(&refused.stdout);
        assert_has_no_secret(&refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_can_come_from_a_file() {
    let mut world = World::plan(0).start().await;
    let file = std::env::temp_dir().join(&world.key_prefix);
    std::fs::write(&file, format!("k1:{}\n", STANDARD.encode(KEY))).unwrap();
    world.program = world
        .program
        .clone()
        .variable("FLASH_SALE_ENV", "production")
        .set("http.host", "127.0.0.1")
        .set("monitoring.host", "127.0.0.1")
        .set("checkout.code_keys_file", file.to_str().unwrap());

    world.start(1).await;

    let sale = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_no_buyer_no_code_and_no_query() {
    let mut world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;
    let code = world.at(0).buys(&sale, "zebra-buyer", "1").await;
    world.at(0).checkout(&sale, "zebra-loser", "1").await.is(409);
    world.at(0).checkout(&sale, "zebra loser", "1").await.is(400);
    world.at(0).get("/users/zebra-buyer/purchases?zebra=1").await.is(200);
    world.at(0).get(&format!("/purchases/{code}")).await.is(200);
    world.at(0).purchase(&format!("{code}-zebra")).await.is(404);
    world.at(0).get("/zebra?zebra=1").await.is(404);

    let mut instance = world.instances.remove(0);
    instance.process.signal(Signal::SIGTERM);
    instance.process.exit().await;

    let log = instance.process.stderr.text();
    assert!(log.contains("\"route\""), "{log}");
    assert!(!log.contains("zebra") && !log.contains("CHK-"), "{log}");
}

fn with_password(url: &str) -> String {
    let mut url = Url::parse(url).unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    url.to_string()
}

#[track_caller]
fn assert_has_no_secret(text: &str) {
    let coded = STANDARD.encode(KEY);
    for secret in [PASSWORD, KEY, &coded] {
        assert!(!text.contains(secret), "a secret was written out: {text}");
    }
}
