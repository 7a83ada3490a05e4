//! The configuration changes while instances serve: by files that are swapped, and by SIGHUP.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;
use uuid::Uuid;

use crate::harness::{World, eventually, until};

/// A body that is too large for some limits.
const BODY_BYTES: usize = 5_000;

/// A folder of configuration files as Kubernetes mounts a `ConfigMap`: `default.yaml` leads through the link `..data`, which is moved.
struct Mounted {
    folder: PathBuf,
}

impl Mounted {
    fn with(text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("it-config-{}", Uuid::now_v7().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        let mounted = Self { folder };
        symlink("..data/default.yaml", mounted.folder.join("default.yaml")).unwrap();
        mounted.swap(text);
        mounted
    }

    /// Replaces all files at once.
    fn swap(&self, text: &str) {
        let version = format!("..{}", Uuid::now_v7().simple());
        std::fs::create_dir(self.folder.join(&version)).unwrap();
        std::fs::write(self.folder.join(&version).join("default.yaml"), text).unwrap();
        let next = self.folder.join("..data_tmp");
        symlink(&version, &next).unwrap();
        std::fs::rename(next, self.folder.join("..data")).unwrap();
    }

    /// Writes the file in place, without moving anything.
    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        std::fs::canonicalize(self.folder.join("default.yaml")).unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A world whose instances read this folder, and what is not in it from nowhere else.
async fn world(mounted: &Mounted, instances: usize) -> World {
    let mut world = World::plan(0).start().await;
    world.program = world
        .program
        .clone()
        .without("FLASH_SALE__SCHEDULE__ENABLED")
        .without("FLASH_SALE__SHUTDOWN__GRACE")
        .without("FLASH_SALE__JOBS__ENABLED");
    let folder = mounted.folder.to_str().unwrap();
    for _ in 0..instances {
        let process = world.program.start(&["serve", "--config", folder]);
        world.adopt(process).await;
    }
    for instance in &world.instances {
        instance.ready().await;
    }
    world
}

/// A configuration with the schedule off, jobs too unless these lines have them, and these lines.
fn with(lines: &str) -> String {
    let jobs = if lines.contains("jobs:") { "" } else { "jobs:\n  enabled: false\n" };
    format!("schedule:\n  enabled: false\n{jobs}{lines}\n")
}

/// The status of a request with a body of [`BODY_BYTES`].
async fn status_of_body(world: &World, instance: usize) -> u16 {
    let body = format!("{{\"x\":\"{}\"}}", "x".repeat(BODY_BYTES));
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let sent = world.at(instance).send_with(reqwest::Method::POST, "/v2/checkouts", &headers, body);
    sent.await.status
}

async fn reloads(world: &World, instance: usize, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    world.metrics(instance).await.sum("flash_sale_config_reloads_total", &[&label])
}

async fn health(world: &World, instance: usize) -> Value {
    let answer = world.instances[instance].monitor.get("/healthz").await.is(200);
    answer.at("/checks/configuration")
}

fn has_logged(world: &World, instance: usize, message: &str) -> Option<Value> {
    let records = world.instances[instance].process.stderr.records();
    records.into_iter().rev().find(|record| record["message"] == message)
}

/// The id of a request that is served.
async fn request(world: &World, instance: usize) -> String {
    let served = world.at(instance).get("/sales/active").await.is(200);
    served.header("x-request-id").unwrap().to_owned()
}

fn hang_up(world: &World) {
    for instance in &world.instances {
        instance.process.signal(Signal::SIGHUP);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_folder_changes_all_instances_without_a_restart() {
    let mounted = Mounted::with(&with("http:\n  max_body_bytes: 1000"));
    let world = world(&mounted, 2).await;
    let sale = world.create_sale("--items 9").await;
    for instance in [0, 1] {
        assert_eq!(status_of_body(&world, instance).await, 413);
        assert_eq!(health(&world, instance).await["last_reload"], "none");
    }

    mounted.swap(&with("http:\n  max_body_bytes: 60000"));

    for instance in [0, 1] {
        until("the larger body is read", async || status_of_body(&world, instance).await == 400)
            .await;
        let health = health(&world, instance).await;
        assert_eq!((&health["status"], &health["last_reload"]), (&"up".into(), &"applied".into()));
        assert!(health["last_reload_at"].is_string(), "{health}");
        assert!((reloads(&world, instance, "applied").await - 1.0).abs() < f64::EPSILON);
        let logged = has_logged(&world, instance, "configuration changed").unwrap();
        assert_eq!(logged["keys"], "http.max_body_bytes");
        world
            .at(instance)
            .buys(&sale, &format!("buyer-{instance}"), &(instance + 1).to_string())
            .await;
    }
    mounted.swap(&with("log:\n  level: warn\nhttp:\n  max_body_bytes: 60000"));
    let mut unlogged = Vec::new();
    for instance in [0, 1] {
        until("the level is another", async || reloads(&world, instance, "applied").await > 1.5)
            .await;
        unlogged.push(request(&world, instance).await);
    }
    // The folder is made anew, which no notification tells of.
    let text = with("http:\n  max_body_bytes: 1000");
    let folder = &mounted.folder;
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("default.yaml"), text).unwrap();
    for instance in [0, 1] {
        until("the smaller limit is back", async || status_of_body(&world, instance).await == 413)
            .await;
        let logged = request(&world, instance).await;
        let is_logged = |id: &String| {
            let records = world.instances[instance].process.stderr.records();
            records.iter().any(|record| record["request_id"] == *id)
        };
        until("requests are logged again", async || is_logged(&logged)).await;
        assert!(!is_logged(&unlogged[instance]));
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_would_not_start_changes_nothing_and_is_reported_whole() {
    let good = with("http:\n  max_body_bytes: 1000");
    let mounted = Mounted::with(&good);
    let world = world(&mounted, 1).await;
    let sale = world.create_sale("--items 9").await;
    let bad: [(&str, &[&str]); 5] = [
        // Half written.
        ("schedule:\n  enabled: false\nhttp:\n  max_body_bytes: [60", &[]),
        ("", &["the file is empty"]),
        ("# nothing\n\n", &["the file is empty"]),
        (
            "http:\n  max_body_bytes: 60000\n  cors:\n    origins: nonsense\n  v1:\n    sunset_at: \"2027-01-01T00:00:00Z\"\ndatabase:\n  secret: hunter2\n",
            &["http.cors.origins", "http.v1.sunset_at", "database.secret"],
        ),
        ("schedule:\n  cron: nonsense\nhttp:\n  max_body_bytes: 60000\n", &["schedule.cron"]),
    ];

    for (number, (text, faults)) in bad.into_iter().enumerate() {
        mounted.swap(text);
        let refused = f64::from(u32::try_from(number).unwrap() + 1);
        until("it is refused", async || {
            (reloads(&world, 0, "refused").await - refused).abs() < 0.1
        })
        .await;
        let health = health(&world, 0).await;
        assert_eq!(health["status"], "degraded", "{health}");
        let logged = "the configuration is not changed: the new one is not valid";
        let logged = has_logged(&world, 0, logged).unwrap();
        assert_eq!(logged["level"], "ERROR");
        for fault in faults {
            assert!(logged["error"].as_str().unwrap().contains(fault), "{fault}: {logged}");
            assert!(health["message"].as_str().unwrap().contains(fault), "{fault}: {health}");
        }
        assert!(!logged.to_string().contains("hunter2"), "{logged}");
        assert_eq!(status_of_body(&world, 0).await, 413, "{text}");
    }
    world.instances[0].ready().await;
    world.at(0).buys(&sale, "ann", "1").await;

    // Unreadable, even for root; and then as before.
    let file = mounted.file();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    until("a folder is refused", async || reloads(&world, 0, "refused").await > 5.5).await;
    mounted.swap(&good);
    until("it is as before", async || health(&world, 0).await["status"] == "up").await;
    assert!(reloads(&world, 0, "applied").await.abs() < f64::EPSILON);
    mounted.write(&with("http:\n  max_body_bytes: 60000"));
    until("the larger body is read", async || status_of_body(&world, 0).await == 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_switched_on_and_off_and_changed_without_a_restart() {
    let mounted = Mounted::with(&with(""));
    let world = world(&mounted, 1).await;
    let sale = world.create_sale("--items 9").await;
    let status = async |buyer: &str| world.at(0).checkout(&sale, buyer, "1").await.status;
    for _ in 0..5 {
        assert_eq!(status("ann").await, 200);
    }

    mounted.swap(&with("limits:\n  buyer: 1/h burst 2"));
    until("ann is limited", async || status("ann").await == 429).await;
    assert_eq!(status("bob").await, 200);
    let listed = world.at(0).get("/v2/sales").await.is(200);
    assert!(listed.header("ratelimit").is_none(), "a list has no limit");

    mounted.swap(&with("limits:\n  routes: GET /sales 1/h burst 1, POST /checkout 1000/s"));
    until("a list is limited", async || world.at(0).get("/v2/sales").await.status == 429).await;
    assert_eq!(status("ann").await, 200);

    mounted.swap(&with("limits:\n  routes: GET /nothing 1/s"));
    until("it is refused", async || reloads(&world, 0, "refused").await > 0.5).await;
    let refused = health(&world, 0).await;
    assert!(refused["message"].as_str().unwrap().contains("GET /nothing"), "{refused}");
    assert_eq!(world.at(0).get("/v2/sales").await.status, 429);

    mounted.swap(&with(""));
    until("a list is not limited", async || world.at(0).get("/v2/sales").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_live_are_named_and_wait_for_a_restart() {
    let mounted = Mounted::with(&with("http:\n  max_body_bytes: 1000"));
    let world = world(&mounted, 1).await;

    mounted.swap(&with("http:\n  max_body_bytes: 60000\ncatalogue:\n  item_name: \"Lot {item}\"\nbatch:\n  retries: 7"));

    let warning = "these changed keys take effect only after a restart";
    let warned = eventually("they are named", async || has_logged(&world, 0, warning)).await;
    assert_eq!(warned["keys"], "batch.retries, catalogue.item_name");
    assert_eq!(health(&world, 0).await["needs_restart"], "batch.retries, catalogue.item_name");
    assert_eq!(status_of_body(&world, 0).await, 400, "the live one is in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_outlive_a_rotation_of_keys_that_secrets_bring() {
    let keys = Secret::with("old:b2xkIG9sZCBvbGQgb2xkIG9sZA==\n");
    let mut world = World::plan(0).start().await;
    world.program = world
        .program
        .clone()
        .variable("FLASH_SALE__CHECKOUT__CODE_KEYS_FILE", keys.0.to_str().unwrap());
    world.start(2).await;
    let sale = world.create_sale("--items 9").await;
    let old = world.at(0).buys(&sale, "ann", "1").await;
    let open = world.at(0).collects(&sale, "bob", "2").await;

    // In two steps, as docs/configuration.md says.
    let both = ["old:b2xkIG9sZCBvbGQgb2xkIG9sZA==", "new:bmV3IG5ldyBuZXcgbmV3IG5ldw=="];
    for (text, applied) in [(both.join(","), 1.0), ([both[1], both[0]].join(","), 2.0)] {
        keys.write(&text);
        hang_up(&world);
        for instance in [0, 1] {
            until("the keys are in force", async || {
                (reloads(&world, instance, "applied").await - applied).abs() < 0.1
            })
            .await;
        }
    }
    let new = world.at(1).buys(&sale, "cat", "3").await;
    assert_ne!(tag(&new), tag(&old));
    for instance in [0, 1] {
        for code in [&old, &new] {
            world.at(instance).get(&format!("/purchases/{code}")).await.is(200);
        }
    }
    world.at(1).purchase(&open).await.is(200);

    keys.write(both[1]);
    hang_up(&world);
    until("the old key is gone", async || {
        world.at(0).get(&format!("/purchases/{old}")).await.status == 404
    })
    .await;
    world.at(0).get(&format!("/purchases/{new}")).await.is(200);
    // The same again.
    hang_up(&world);
    until("nothing has changed", async || reloads(&world, 0, "unchanged").await > 0.5).await;
    // And a secret that is gone.
    std::fs::remove_file(&keys.0).unwrap();
    hang_up(&world);
    until("it is refused", async || reloads(&world, 0, "refused").await > 0.5).await;
    world.at(0).get(&format!("/purchases/{new}")).await.is(200);
    // Commands read it too.
    keys.write(both[1]);
    world.verify().await;
}

/// A file with a secret.
struct Secret(PathBuf);

impl Secret {
    fn with(text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("it-secret-{}", Uuid::now_v7().simple()));
        let secret = Self(file);
        secret.write(text);
        secret
    }

    fn write(&self, text: &str) {
        let next: &Path = &self.0.with_extension("next");
        std::fs::write(next, text).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The part of a code that names its key: behind the sale, one or two letters.
fn tag(code: &str) -> String {
    let (_, rest) = code.rsplit_once('-').unwrap();
    rest.chars().take(3).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_is_switched_on_and_made_denser_while_an_instance_serves() {
    let mounted = Mounted::with(&with(""));
    let world = world(&mounted, 2).await;
    assert_eq!(world.at(0).get("/sales/active").await.at("/data"), serde_json::json!([]));
    let schedule = |cron: &str, items: i32| {
        format!(
            "schedule:\n  enabled: true\n  cron: \"{cron}\"\n  duration: 10m\n  items: {items}\n  interval: 5s\n"
        )
    };

    mounted.swap(&schedule("0 0 * * * *", 20));
    // The hour may be older than ten minutes: then the next one is written ahead.
    let written = async |items: i32| {
        let sales = "SELECT count(*) FROM sales WHERE schedule IS NOT NULL AND items = $1";
        sqlx::query_scalar::<_, i64>(sales).bind(items).fetch_one(world.pool()).await.unwrap()
    };
    until("a sale of the schedule is written", async || written(20).await > 0).await;

    mounted.swap(&schedule("0 * * * * *", 30));
    until("a sale of the denser schedule is open", async || {
        let open = world.at(1).get("/sales/active").await.is(200);
        open.at("/data").as_array().unwrap().iter().any(|sale| sale["items"] == 30)
    })
    .await;

    mounted.swap(&with(""));
    for instance in [0, 1] {
        until("it is off", async || reloads(&world, instance, "applied").await > 2.5).await;
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_job_is_changed_while_a_worker_runs() {
    let jobs = |timeout: &str| with(&format!("jobs:\n  enabled: true\n  timeout: {timeout}"));
    let mounted = Mounted::with(&jobs("1h"));
    let world = world(&mounted, 1).await;
    let long = ["--payload", r#"{"seconds":3600}"#];
    let before = world.enqueue("noop", &long).await;
    world.job_is(before, "running").await;

    mounted.swap(&jobs("2s"));
    until("it is in force", async || reloads(&world, 0, "applied").await > 0.0).await;
    let after = world.enqueue("noop", &long).await;

    let failed = world.job_is(after, "retrying").await;
    assert_eq!(failed["last_error"], "it took longer than 2s");
    world.job_is(before, "running").await;
}
