//! The read cache: fewer reads of PostgreSQL, and no reader sees anything older than allowed.

#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

use std::time::{Duration, Instant};

use redis::AsyncCommands;

use crate::harness::world::Plan;
use crate::harness::{World, until};

/// Longer than any test takes: what is fresh was forgotten.
const LONG: &str = "30m";

/// A plan of two instances with the cache on, whose pages do not expire by themselves.
fn plan() -> Plan {
    World::plan(2).set("cache.enabled", "true").set_all(&[
        ("cache.sales_ttl", LONG),
        ("cache.items_ttl", LONG),
        ("cache.purchases_ttl", LONG),
    ])
}

async fn requests(world: &World, instance: usize, kind: &str, result: &str) -> f64 {
    let labels = [format!("kind=\"{kind}\""), format!("result=\"{result}\"")];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    world.metrics(instance).await.sum("flash_sale_cache_requests_total", &labels)
}

/// The pieces of the first item that are left, as an instance lists them.
async fn listed(world: &World, instance: usize, sale: &str) -> i64 {
    let page = world.at(instance).get(&format!("/v2/sales/{sale}/items?limit=5")).await.is(200);
    page.at("/data/0/pieces/remaining").as_i64().unwrap()
}

/// The codes of a buyer's purchases, as an instance lists them in both versions.
async fn purchases(world: &World, instance: usize, buyer: &str) -> Vec<String> {
    let codes = async |path: &str| -> Vec<String> {
        let list = world.at(instance).get(path).await.is(200).at("/data");
        let codes = list.as_array().unwrap().iter();
        codes.map(|purchase| purchase["code"].as_str().unwrap().to_owned()).collect()
    };
    let (one, two) = (format!("/users/{buyer}/purchases"), format!("/v2/buyers/{buyer}/purchases"));
    let (one, two) = (codes(&one).await, codes(&two).await);
    assert_eq!(one, two);
    two
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_reader_has_read_others_get_from_the_cache_at_every_instance() {
    let world = plan().start().await;
    let sale = world.create_sale("--items 9 --stock 5").await;
    let lists = [
        ("sales", "/v2/sales".to_owned()),
        ("sales", format!("/sales/{sale}")),
        ("items", format!("/sales/{sale}/items")),
        ("items", format!("/v2/sales/{sale}/items?page=1&limit=3")),
        ("purchases", "/v2/buyers/ann/purchases".to_owned()),
    ];
    for (kind, list) in &lists {
        let (hits, misses) =
            (requests(&world, 0, kind, "hit").await, requests(&world, 0, kind, "miss").await);

        let first = world.at(0).get(list).await.is(200);
        until("the list is found in the cache", async || {
            // Of a sale's sum the instance asks at most every quarter of a second.
            world.at(0).get(list).await.is(200);
            requests(&world, 0, kind, "hit").await > hits
        })
        .await;

        assert!(requests(&world, 0, kind, "miss").await > misses, "{list}");
        let other = world.at(1).get(list).await.is(200);
        if *kind != "sales" {
            assert_eq!(other.body, first.body);
        }
        assert_eq!(requests(&world, 1, kind, "miss").await, 0.0, "{list}");
        assert!(requests(&world, 1, kind, "hit").await > 0.0, "{list}");
    }
    let metrics = world.metrics(1).await;
    assert!(metrics.sum("flash_sale_cache_hits_total", &["redis"]) >= 4.0);
    assert!(metrics.sum("flash_sale_cache_bytes", &[]) >= 0.0);

    // Conditional requests are answered from the cache too.
    let list = world.at(0).get("/v2/sales").await.is(200);
    let tag = list.header("etag").unwrap();
    let again = world.at(0);
    let again = again.send(reqwest::Method::GET, "/v2/sales", &[("if-none-match", tag)]).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(list.header("vary"), again.header("vary").filter(|_| list.body.len() >= 1_024));
    let zipped = [("accept-encoding", "gzip")];
    world.at(0).send(reqwest::Method::GET, "/v2/sales", &zipped).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_has_just_bought_sees_the_purchase_at_every_instance_in_every_mode() {
    for invalidation in ["immediate", "lazy", "ttl"] {
        let world = plan().set("cache.invalidation", invalidation).start().await;
        let sale = world.create_sale("--items 3 --stock 99").await;
        for round in 0..20 {
            let buyer = format!("buyer-{round}");
            for instance in 0..2 {
                assert!(purchases(&world, instance, &buyer).await.is_empty());
            }

            let code = world.at(round % 2).buys(&sale, &buyer, "1").await;

            for instance in [(round + 1) % 2, round % 2] {
                assert_eq!(purchases(&world, instance, &buyer).await, [code.as_str()]);
            }
            let again = world.at(round % 2).buys(&sale, &buyer, "2").await;
            assert_eq!(purchases(&world, (round + 1) % 2, &buyer).await, [again, code]);
        }
        world.verify().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_purchase_its_sale_is_read_again_unless_pages_only_expire() {
    for (invalidation, is_read_again) in [("immediate", true), ("lazy", true), ("ttl", false)] {
        let world = plan().set("cache.invalidation", invalidation).start().await;
        let sale = world.create_sale("--items 3 --stock 9").await;
        for instance in 0..2 {
            assert_eq!(listed(&world, instance, &sale).await, 9);
        }

        world.at(0).buys(&sale, "ann", "1").await;

        if is_read_again {
            for instance in 0..2 {
                until("the purchase is in the list", async || {
                    listed(&world, instance, &sale).await == 8
                })
                .await;
            }
        } else {
            // The buyer's own pages show that the message has arrived.
            assert_eq!(purchases(&world, 1, "ann").await.len(), 1);
            assert_eq!(listed(&world, 0, &sale).await, 9);
            assert_eq!(listed(&world, 1, &sale).await, 9);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_never_older_than_its_time() {
    const TTL: Duration = Duration::from_millis(600);
    let world = World::plan(2)
        .set("cache.enabled", "true")
        .set("cache.invalidation", "ttl")
        .set("cache.items_ttl", "600ms")
        .start()
        .await;
    let sale = world.create_sale("--items 3 --stock 99").await;
    for left in (90..99).rev() {
        for instance in 0..2 {
            listed(&world, instance, &sale).await;
        }
        world.at(0).buys(&sale, &format!("buyer-{left}"), "1").await;
        let bought = Instant::now();
        for instance in [1, 0] {
            until("the page has expired", async || {
                let asked = Instant::now();
                let is_old = listed(&world, instance, &sale).await > left;
                assert!(!is_old || asked.duration_since(bought) <= TTL, "an old page is shown");
                !is_old
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_invalidate_everything_a_sale_a_buyer_a_pattern_or_keys_on_all_instances() {
    let world = plan().private_redis().start().await;
    let sale = world.create_sale("--items 3 --stock 9").await;
    let other = world.create_sale("--items 3 --stock 9").await;
    let invalidate = async |arguments: &[&str]| {
        let arguments = [&["cache", "invalidate"], arguments].concat();
        world.printed(&arguments).await["invalidated"].as_i64().unwrap()
    };
    let key = format!("items:{sale}:1:/v2/sales/{sale}/items?limit=5");
    for (arguments, is_invalidated) in [
        (vec!["--pattern", "items:*"], true),
        (vec!["--sale", &sale], true),
        (vec!["--all"], true),
        (vec!["--keys", &format!("nothing,{key}")], true),
        (vec!["--buyer", "ann"], false),
        (vec!["--sale", &other], false),
        (vec!["--pattern", "items:S-?????:*"], false),
    ] {
        invalidate(&["--all"]).await;
        for instance in 0..2 {
            listed(&world, instance, &sale).await;
        }
        let before = listed(&world, 1, &sale).await;
        let sell = "UPDATE item_stock SET sold = sold + 1 WHERE item_no = 1";
        sqlx::raw_sql(sell).execute(world.pool()).await.unwrap();
        assert_eq!(listed(&world, 0, &sale).await, before);

        let invalidated = invalidate(&arguments).await;

        for instance in 0..2 {
            let now = listed(&world, instance, &sale).await;
            assert_eq!(now, before - i64::from(is_invalidated), "{arguments:?} {instance}");
        }
        assert_eq!(invalidated > 0, is_invalidated, "{arguments:?}: {invalidated}");
    }

    purchases(&world, 0, "ann").await;
    assert_eq!(invalidate(&["--buyer", "ann"]).await, 2);
    assert_eq!(invalidate(&["--buyer", "ann"]).await, 0);
    for wrong in [
        &["cache", "invalidate"][..],
        &["cache", "invalidate", "--all", "--buyer", "ann"],
        &["cache", "invalidate", "--sale", "7"],
        &["cache", "invalidate", "--pattern", "items *"],
    ] {
        let ran = world.program.run(wrong).await;
        assert_eq!((ran.code, ran.complaint().len()), (Some(2), 1), "{ran}");
    }
    world.redis_server.as_ref().unwrap().run("kill-redis");
    let ran = world.program.run(&["cache", "invalidate", "--all"]).await;
    assert_eq!(ran.code, Some(2), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_instance_goes_on_with_its_own_pages() {
    let world = plan().private_redis().start().await;
    let sale = world.create_sale("--items 3 --stock 9").await;
    listed(&world, 0, &sale).await;
    let misses = requests(&world, 0, "items", "miss").await;

    world.redis_server.as_ref().unwrap().run("kill-redis");

    listed(&world, 0, &sale).await;
    assert_eq!(requests(&world, 0, "items", "miss").await, misses);
    for round in 0_i64..5 {
        let buyer = format!("buyer-{round}");
        purchases(&world, 0, &buyer).await;
        let code = world.at(0).buys(&sale, &buyer, "1").await;
        assert_eq!(purchases(&world, 0, &buyer).await, [code.as_str()]);
        assert_eq!(listed(&world, 0, &sale).await, 8 - round);
    }
    // It is empty, and instances forget what they may have missed.
    world.redis_server.as_ref().unwrap().run("start-redis");
    until("the other instance has forgotten its pages", async || {
        listed(&world, 1, &sale).await == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sold_or_refused_by_the_cache_and_every_key_expires() {
    let world = plan().set("cache.invalidation", "ttl").private_redis().start().await;
    let sale = world.create_sale("--items 1 --stock 1").await;
    for instance in 0..2 {
        assert_eq!(listed(&world, instance, &sale).await, 1);
        world.at(instance).get(&format!("/sales/{sale}")).await.is(200);
        world.at(instance).get("/v2/sales").await.is(200);
    }
    world.at(0).buys(&sale, "ann", "1").await;
    purchases(&world, 1, "ann").await;

    // Both instances still show the piece.
    for instance in 0..2 {
        assert_eq!(listed(&world, instance, &sale).await, 1);
    }
    for instance in 0..2 {
        until("the sold-out item is refused", async || {
            world.at(instance).checkout(&sale, "bob", "1").await.status == 409
        })
        .await;
    }
    // A sold-out item that is restocked can be bought at once, whatever the pages say.
    world.printed(&["sale", "restock", &sale, "1", "--pieces", "1"]).await;
    world.at(1).buys(&sale, "carl", "1").await;
    world.verify().await;

    let mut redis = world.redis().await;
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    assert!(keys.iter().any(|key| key.contains("read:")), "{keys:?}");
    assert!(keys.iter().any(|key| key.contains("read-generation:")), "{keys:?}");
    for key in keys {
        let left: i64 = redis.pttl(&key).await.unwrap();
        assert_ne!(left, -1, "{key} does not expire");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sale_is_in_the_cached_list_as_soon_as_the_instances_know_it() {
    let world = plan().start().await;
    for round in 0..3 {
        world.at(0).get("/v2/sales").await.is(200);
        let sale = world.create_sale("--items 1").await;
        for instance in 0..2 {
            until(&format!("{round}: the sale is in the list"), async || {
                world.at(instance).get("/v2/sales").await.is(200).at("/data/0/id") == *sale
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_takes_back_is_seen_at_every_instance() {
    let world = plan().start().await;
    let sale = world.create_sale("--items 9").await;
    let code = world.at(0).buys(&sale, "ann", "1").await;
    let list = "/v2/buyers/ann/purchases";
    let shows = async |instance: usize| world.at(instance).get(list).await.is(200).at("/data/0");
    for instance in [0, 1] {
        until("the list is found in the cache", async || {
            assert!(shows(instance).await["cancelled"].is_null());
            requests(&world, instance, "purchases", "hit").await > 0.5
        })
        .await;
    }

    world.program.run(&["purchase", "cancel", &code]).await.succeeded();

    for instance in [0, 1] {
        assert_eq!(shows(instance).await["cancelled"][0]["id"], "1");
    }
}
