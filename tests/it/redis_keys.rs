//! Every key in Redis expires.

use std::collections::BTreeMap;

use redis::AsyncCommands;

use crate::harness::{Storm, World};

/// What `PTTL` returns for a key that never expires.
const NO_EXPIRY: i64 = -1;

#[tokio::test(flavor = "multi_thread")]
async fn every_key_has_the_prefix_and_expires() {
    let world = World::plan(2).private_redis().set("redis.filter_interval", "1s").start().await;
    let sale = world.create_sale("--items 60").await;
    world.create_sale("--items 5 --starts-in 1h").await;

    let storm = Storm::over(&world.clients(), &sale, 50);
    let mut seen = BTreeMap::new();
    for sold in [10, 25, 40, 50] {
        storm.has_sold(sold).await;
        seen.extend(keys(&world).await);
    }
    storm.receipts().await;
    world.at(0).checkout(&sale, "ann", "1").await.is(409);
    world.at(0).purchase("CHK-S-1-nonsense").await.is(404);
    seen.extend(keys(&world).await);

    assert!(!seen.is_empty());
    for (key, ttl_ms) in seen {
        assert!(key.starts_with(&world.key_prefix), "a key without the prefix: {key}");
        assert_ne!(ttl_ms, NO_EXPIRY, "a key that never expires: {key}");
    }
    world.verify().await;
}

/// All keys of this test's Redis, each with the result of `PTTL`.
async fn keys(world: &World) -> BTreeMap<String, i64> {
    let mut redis = world.redis().await;
    let names: Vec<String> = redis.keys("*").await.unwrap();
    let mut left = BTreeMap::new();
    for name in names {
        let ttl_ms: i64 = redis.pttl(&name).await.unwrap();
        left.insert(name, ttl_ms);
    }
    left
}
