//! The service as a user of Redis with few rights (an ACL): what it needs stands in the documentation, and a right that is
//! refused is no outage.

use redis::Value as RedisValue;
use redis::aio::MultiplexedConnection;
use reqwest::Url;
use serde_json::Value;

use crate::harness::{Storm, World, until};

const DOCUMENT: &str = include_str!("../../docs/operations.md");
/// The rules of the user in the documentation, in a block of shell commands.
const BEGIN: &str = "redis-cli ACL SETUSER flash-sale ";
/// The prefix of all keys in the documentation, which is the default.
const PREFIX: &str = "flash-sale:";
const USER: &str = "few-rights";
const PASSWORD: &str = "secret";

/// The documented rules, for the keys of a world.
fn documented_rules(world: &World) -> Vec<String> {
    let (_, rest) = DOCUMENT.split_once(BEGIN).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let rules = block.split_whitespace().filter(|rule| *rule != "\\");
    let filled = rules.map(|rule| {
        let rule = rule.trim_matches('"').replace("$PASSWORD", PASSWORD);
        rule.replace(PREFIX, &world.key_prefix)
    });
    filled.collect()
}

async fn set_user(redis: &mut MultiplexedConnection, rules: &[impl AsRef<str>]) {
    let rules = rules.iter().map(AsRef::as_ref);
    let words: Vec<&str> = ["SETUSER", USER].into_iter().chain(rules).collect();
    let _: RedisValue = redis::cmd("ACL").arg(words).query_async(redis).await.unwrap();
}

/// A world of two instances, and its commands, as a user with these rules.
async fn world_of_user(rules: impl Fn(&World) -> Vec<String>) -> World {
    let mut world = World::plan(0)
        .private_redis()
        .set("schedule.enabled", "true")
        .set("schedule.items", "20")
        .set("redis.filter_interval", "1s")
        .start()
        .await;
    let mut redis = world.redis().await;
    set_user(&mut redis, &rules(&world)).await;
    let _: RedisValue =
        redis::cmd("ACL").arg(&["LOG", "RESET"]).query_async(&mut redis).await.unwrap();
    let mut url = Url::parse(world.program.value("REDIS_URL")).unwrap();
    url.set_username(USER).unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    world.program = world.program.clone().variable("REDIS_URL", url.as_str());
    world.start(2).await;
    world
}

/// Everything that touches Redis: limits, locks, sold-out items, keys, the filter and its rebuild, the schedule's leader, an audit.
async fn use_everything(world: &World) {
    let sale = world.create_sale("--items 63").await;
    let storm = Storm::over(&world.clients(), &sale, 60);
    storm.receipts().await;
    world.at(0).checkout(&sale, "late", "1").await.refuses(409, "item_sold_out");
    world.at(1).checkout(&sale, "late", "1").await.refuses(409, "item_sold_out");
    // Until the filter is rebuilt, it has items that can be bought again.
    let restock = "WITH grown AS (UPDATE item_stock SET stock = stock + 1 WHERE stock = sold)
                   UPDATE sales SET generation = generation + 1";
    sqlx::query(restock).execute(world.pool()).await.unwrap();
    for (instance, item) in [(0, "1"), (1, "2")] {
        let client = world.at(instance);
        until("it is sold again", async || {
            client.checkout(&sale, "late", item).await.status == 200
        })
        .await;
    }
    world.at(0).buys(&sale, "keyed", "3").await;
    world.verify().await;
}

async fn health(world: &World, instance: usize) -> Value {
    world.instances[instance].monitor.get("/healthz").await.is(200).json()
}

/// The warnings of an instance with a field `rule`, as pairs of command and rule.
fn warned(world: &World, instance: usize) -> Vec<(String, String)> {
    let records = world.instances[instance].process.stderr.records();
    let warnings = records.iter().filter(|record| record["level"] == "WARN");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    warnings
        .filter_map(|record| Some((text(&record["command"])?, text(&record["rule"])?)))
        .collect()
}

fn circuit_opened(world: &World, instance: usize) -> bool {
    world.instances[instance].process.stderr.text().contains("the circuit is open")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_service_runs_with_the_rights_that_the_documentation_names() {
    let world = world_of_user(documented_rules).await;

    use_everything(&world).await;

    let mut redis = world.redis().await;
    let denied: Vec<RedisValue> =
        redis::cmd("ACL").arg("LOG").query_async(&mut redis).await.unwrap();
    assert!(denied.is_empty(), "{denied:#?}");
    let channel = format!("{}news", world.key_prefix);
    let (_, subscribers): (String, usize) =
        redis::cmd("PUBSUB").arg("NUMSUB").arg(&channel).query_async(&mut redis).await.unwrap();
    assert_eq!(subscribers, 2);
    for instance in 0..2 {
        assert_eq!(health(&world, instance).await["checks"]["redis"]["status"], "up");
        assert_eq!(warned(&world, instance), []);
        assert!(!circuit_opened(&world, instance));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_channels_is_warned_of_and_the_circuit_stays_closed() {
    // What an installation has that was made for Redis 6, where channels needed no rule.
    let rules = |world: &World| {
        let keys = format!("~{}*", world.key_prefix);
        [&format!(">{PASSWORD}"), "on", &keys, "+@all", "resetchannels"].map(str::to_owned).to_vec()
    };
    let world = world_of_user(rules).await;
    let rule = format!("&{}*", world.key_prefix);

    use_everything(&world).await;

    for instance in 0..2 {
        until("the missing rule is in the health check", async || {
            let redis = health(&world, instance).await["checks"]["redis"].take();
            redis["status"] == "degraded"
                && redis["message"].as_str().is_some_and(|message| message.contains(&rule))
        })
        .await;
        let mut warned = warned(&world, instance);
        warned.sort_unstable();
        let expected = ["publish", "subscribe"].map(|command| (command.to_owned(), rule.clone()));
        assert_eq!(warned, expected);
        assert!(!circuit_opened(&world, instance));
        world.instances[instance].ready().await;
    }
    set_user(&mut world.redis().await, &[rule]).await;
    for instance in 0..2 {
        until("the right is granted", async || health(&world, instance).await["status"] == "ok")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_some_commands_sells_on_and_each_is_named_once() {
    let refused = ["get", "hset", "script|load", "set"];
    let rules = |world: &World| {
        let mut rules = documented_rules(world);
        rules.extend(refused.map(|command| format!("-{command}")));
        rules
    };
    let world = world_of_user(rules).await;

    use_everything(&world).await;

    for instance in 0..2 {
        assert!(!circuit_opened(&world, instance));
        let redis = health(&world, instance).await["checks"]["redis"].take();
        assert_eq!(redis["status"], "degraded", "{redis}");
        let warned = warned(&world, instance);
        let mut once = warned.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), warned.len(), "{warned:?}");
        assert!(warned.contains(&("script|load".to_owned(), "+script|load".to_owned())));
    }
    set_user(&mut world.redis().await, &["+script|load"]).await;
    for instance in 0..2 {
        until("the other missing rights are known", async || {
            let message = health(&world, instance).await["checks"]["redis"]["message"].take();
            let message = message.as_str().unwrap_or_default().to_owned();
            ["+get", "+hset", "+set"].iter().all(|rule| message.contains(rule))
                && !message.contains("+script|load")
        })
        .await;
        assert!(!circuit_opened(&world, instance));
    }
}
