//! Valkey in the place of Redis.

use std::path::{Path, PathBuf};

use crate::harness::redis_nodes::RedisNode;
use crate::harness::{Storm, World, until};

/// The program: on the path, or where `scripts/install-services.sh valkey` puts it.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/valkey/bin");
    let mut folders = std::env::split_paths(&path).chain([own]);
    folders.find_map(|folder| Some(folder.join("valkey-server")).filter(|file| file.exists()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_service_runs_on_valkey() {
    let Some(program) = program() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "valkey is missing: scripts/install-services.sh valkey"
        );
        eprintln!("skipped: no valkey-server (scripts/install-services.sh valkey)");
        return;
    };
    let server = RedisNode::start(program.to_str().unwrap(), &[]).await;
    let url = format!("redis://{}", server.address());
    let mut world = World::plan(0)
        .set("jobs.enabled", "true")
        .set("events.stream.enabled", "true")
        .set("redis.filter_interval", "500ms")
        .start()
        .await;
    world.program = world.program.clone().variable("REDIS_URL", &url);
    world.start(2).await;
    // One more than is bought, so that the sale goes on.
    let sale = world.create_sale("--items 61").await;

    let receipts = Storm::over(&world.clients(), &sale, 60).receipts().await;

    let sold = receipts.iter().filter(|receipt| receipt.answer.status == 200).count();
    assert_eq!(sold, 60);
    for instance in 0..2 {
        world.at(instance).checkout(&sale, "late", "1").await.refuses(409, "item_sold_out");
        let health = world.instances[instance].monitor.get("/healthz").await.is(200).json();
        assert_eq!(health["checks"]["redis"]["status"], "up");
        assert!(!world.instances[instance].process.stderr.text().contains("the circuit is open"));
    }
    let keys = async || server.run::<Vec<String>>("KEYS *").await;
    until("the filter and the stream are there", async || {
        let keys = keys().await;
        keys.iter().any(|key| key.ends_with(":filter"))
            && keys.contains(&format!("{}events", world.key_prefix))
    })
    .await;
    for key in keys().await {
        let ttl: i64 = server.run(&format!("PTTL {key}")).await;
        assert!(ttl != -1, "{key} does not expire");
    }
    world.verify().await;
}
