//! Why a server is away stands in the log and in the health check, for operators only.

use nix::sys::signal::Signal;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Url;
use serde_json::Value;

use crate::harness::trouble::{CUT_SESSIONS, REDIS_REFUSES, send_to_redis};
use crate::harness::{World, until};

/// What Redis answers in each of [`REDIS_REFUSES`].
const REFUSALS: [&str; 3] = ["(OOM)", "(READONLY)", "(NOAUTH)"];

/// Waits until the health check of an instance tells why a dependency is away.
async fn tells(world: &World, instance: usize, dependency: &str, reason: &str) {
    until(&format!("the health check tells: {reason}"), async || {
        let health = world.instances[instance].monitor.get("/healthz").await.json();
        let message = &health["checks"][dependency]["message"];
        message.as_str().is_some_and(|message| message.contains(reason))
    })
    .await;
}

/// The reasons in the lines of an instance that warn of its circuit to a dependency.
fn warned(world: &World, instance: usize, dependency: &str) -> Vec<String> {
    let records = world.instances[instance].process.stderr.records();
    let of_circuit = records.iter().filter(|record| {
        let message = record["message"].as_str().unwrap_or_default();
        record["dependency"] == dependency
            && record["level"] == "WARN"
            && message.contains("the circuit")
    });
    of_circuit.map(|record| record["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Starts an instance with another Redis, and waits until it tells why it does not get on with it.
async fn with_redis(world: &mut World, url: &str, reason: &str) {
    world.program = world.program.clone().variable("REDIS_URL", url);
    world.start(1).await;
    let newest = world.instances.len() - 1;
    tells(world, newest, "redis", reason).await;
    let warned = warned(world, newest, "redis");
    assert!(warned.iter().any(|warned| warned.contains(reason)), "{warned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_redis_is_away_is_in_the_log_and_in_the_health_check() {
    let world = World::plan(1).private_redis().start().await;
    let mut redis = world.redis().await;

    for ((refuse, accept), reason) in REDIS_REFUSES.iter().zip(REFUSALS) {
        for command in *refuse {
            send_to_redis(&mut redis, command).await;
        }
        tells(&world, 0, "redis", reason).await;
        // The port of front ends tells that Redis is away, and not why.
        let public = world.at(0).get("/health").await.is(200).json();
        assert_eq!(public["checks"]["redis"], serde_json::json!({ "status": "degraded" }));
        for command in *accept {
            send_to_redis(&mut redis, command).await;
        }
        until("redis is back", async || {
            world.instances[0].monitor.get("/healthz").await.json()["status"] == "ok"
        })
        .await;
    }
    world.redis_server.as_ref().unwrap().run("kill-redis");
    tells(&world, 0, "redis", "connection refused").await;

    let warned = warned(&world, 0, "redis");
    for reason in REFUSALS.into_iter().chain(["connection refused"]) {
        assert!(warned.iter().any(|warned| warned.contains(reason)), "{reason}: {warned:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_certificate_are_named_and_no_secret_is() {
    let folder = std::env::temp_dir().join(format!("reasons-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let mut world = World::plan(0).start().await;
    let plain = world.program.clone();
    let mut url = Url::parse(world.program.value("REDIS_URL")).unwrap();
    url.set_username("ann").unwrap();
    url.set_password(Some("hunter2")).unwrap();

    with_redis(&mut world, url.as_str(), "(WRONGPASS)").await;
    // Any server with a certificate that no authority has signed, here the service itself.
    let tls = plain
        .clone()
        .set("http.tls.certificate", certificate.to_str().unwrap())
        .set("http.tls.key", key.to_str().unwrap());
    let server = tls.start(&["serve"]);
    world.adopt(server).await;
    let address = world.instances[1].client.address;
    let port = address.port();
    with_redis(&mut world, &format!("rediss://127.0.0.1:{port}/0"), "certificate").await;

    for instance in &mut world.instances {
        instance.process.signal(Signal::SIGTERM);
        instance.process.exit().await;
        assert!(!instance.process.stderr.text().contains("hunter2"));
    }
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_postgresql_is_away_is_in_the_log_and_in_the_health_check() {
    let mut world = World::plan(1).private_postgres().start().await;
    let role = "CREATE ROLE another SUPERUSER LOGIN";
    sqlx::raw_sql(role).execute(world.pool()).await.unwrap();
    let mut url = Url::parse(world.program.value("DATABASE_URL")).unwrap();
    url.set_username("another").unwrap();
    world.program = world.program.clone().variable("DATABASE_URL", url.as_str());
    world.start(1).await;

    // It refuses every connection, and goes on running.
    sqlx::raw_sql("ALTER ROLE another NOLOGIN").execute(world.pool()).await.unwrap();
    sqlx::raw_sql(CUT_SESSIONS).execute(world.pool()).await.unwrap();
    tells(&world, 1, "postgresql", "not permitted to log in").await;

    world.postgres_server.as_ref().unwrap().run("kill-postgres");
    tells(&world, 0, "postgresql", "the circuit is open: ").await;
    // A line of the log may arrive after the answer.
    until("it is logged", async || !warned(&world, 0, "postgresql").is_empty()).await;
    let warned = warned(&world, 0, "postgresql");
    assert!(warned.iter().all(|reason| !reason.is_empty()) && !warned.is_empty(), "{warned:?}");
    let public: Value = world.at(0).get("/health").await.is(503).json();
    assert_eq!(public["checks"]["postgresql"], serde_json::json!({ "status": "down" }));
}
