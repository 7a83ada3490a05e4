//! Rate limits hold over all instances, and count who they are meant for.

#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

use futures_util::future::join_all;
use reqwest::Method;
use tokio::time::Instant;

use crate::harness::client::checkout_path;
use crate::harness::{Answer, Client, World, until};
use crate::tokens::{Issuer, key_set};

/// Far more than a limit allows, at once, from any instance.
async fn flood(clients: &[Client], requests: usize, method: Method, path: &str) -> Vec<Answer> {
    let send = |number: usize| clients[number % clients.len()].send(method.clone(), path, &[]);
    join_all((0..requests).map(send)).await
}

/// How many were let in; all others MUST be refused by a limit.
fn let_in(answers: &[Answer]) -> usize {
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        assert_eq!(answer.at("/code"), "rate_limited");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds >= 1);
    }
    answers.iter().filter(|answer| answer.status != 429).count()
}

/// What is left of the first limit that an answer shows.
fn remaining(answer: &Answer) -> i64 {
    let state = answer.header("ratelimit").unwrap();
    state.split(['=', ';']).nth(2).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_over_three_instances_is_exact() {
    let plan =
        World::plan(3).set("limits.buyer", "1/h burst 100").set("limits.address", "1/h burst 150");
    let world = plan.start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;

    let checkouts =
        flood(&world.clients(), 300, Method::POST, &checkout_path(&sale, "ann", "1")).await;
    let others = flood(&world.clients(), 300, Method::GET, "/v2/sales").await;

    assert_eq!(let_in(&checkouts), 100);
    // A request that one limit refuses is not counted by the other.
    assert_eq!(let_in(&others), 50);
    let refused = others.iter().find(|answer| answer.status == 429).unwrap().clone();
    let refused = refused.problem(429, "rate_limited");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"address\";q=1;w=3600"));
    assert!(refused.header("ratelimit").unwrap().starts_with("\"address\";r=0;t="));
    world.at(0).get("/health").await.is(200);
    let mut counted = [0.0, 0.0];
    for instance in 0..3 {
        let metrics = world.metrics(instance).await;
        for (count, by) in counted.iter_mut().zip(["buyer", "address"]) {
            *count += metrics.sum("flash_sale_rate_limited_total", &[by]);
        }
    }
    assert_eq!(counted, [200.0, 250.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_burst_of_which_a_part_is_counted_a_moment_later_is_exact_within_one_percent() {
    let world = World::plan(3).set("limits.address", "20/h burst 2000").start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let path = checkout_path(&sale, "ann", "1");

    let mut passed = 0;
    for _ in 0..5 {
        passed += let_in(&flood(&world.clients(), 500, Method::POST, &path).await);
    }

    assert!((2_000..=2_020).contains(&passed), "{passed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_limit_refuses_is_not_counted_by_a_large_one() {
    let plan =
        World::plan(2).set("limits.buyer", "1/h burst 5").set("limits.address", "40/h burst 5000");
    let world = plan.start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;

    let path = checkout_path(&sale, "ann", "1");
    let answers = flood(&world.clients()[..1], 60, Method::POST, &path).await;

    assert_eq!(let_in(&answers), 5);
    let mut asked = 0;
    until("the other instance knows of five requests, and of no refused one", async || {
        asked += 1;
        remaining(&world.at(1).get("/v2/sales").await) == 5_000 - 5 - asked
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_over_three_instances_is_exact_within_one_percent() {
    const RATE: f64 = 20.0;
    const BURST: f64 = 40.0;
    let world = World::plan(3).set("limits.buyer", "20/s burst 40").start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let path = checkout_path(&sale, "ann", "1");

    let started = Instant::now();
    let (mut count, mut last) = (0_u32, (0.0, 0.0));
    while last.1 < 12.0 {
        // Far more than the rate, so that the limit decides.
        let began = started.elapsed().as_secs_f64();
        let answers = flood(&world.clients(), 90, Method::POST, &path).await;
        last = (began, started.elapsed().as_secs_f64());
        count += u32::try_from(let_in(&answers)).unwrap();
    }

    // The last flood was counted at some time while it was under way.
    let allowed = (BURST + RATE * last.0) * 0.99..=(BURST + RATE * last.1) * 1.01;
    assert!(allowed.contains(&f64::from(count)), "{count}, not in {allowed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_shows_what_is_left() {
    let plan =
        World::plan(1).set("limits.buyer", "1/h burst 5").set("limits.address", "60/m burst 9");
    let world = plan.start().await;
    let sale = world.create_sale("--items 9").await;

    for left in [4, 3] {
        let answer = world.at(0).checkout(&sale, "ann", "1").await.is(200);
        let policy = "\"buyer\";q=1;w=3600, \"address\";q=60;w=60";
        assert_eq!(answer.header("ratelimit-policy"), Some(policy));
        let state = answer.header("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"buyer\";r={left};t=")), "{state}");
    }
    let other = world.at(0).collect(&sale, "bob", &["2"], "k").await.is(201);
    assert!(other.header("ratelimit").unwrap().starts_with("\"buyer\";r=4;t="));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_from_memory_count_as_well() {
    let world = World::plan(1).set("limits.buyer", "1/h burst 40").start().await;
    let sale = world.create_sale("--items 2").await;
    world.at(0).buys(&sale, "zoe", "1").await;

    let answers =
        flood(&world.clients(), 100, Method::POST, &checkout_path(&sale, "ann", "1")).await;

    let sold_out = answers.iter().filter(|answer| answer.status == 409).count();
    // Up to an eighth of the burst is answered from memory, and counted in Redis a moment later.
    assert!((40..=45).contains(&sold_out), "{sold_out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_instances_know_of_refusals_from_memory_a_moment_later() {
    let world = World::plan(2).set("limits.buyer", "1/h burst 40").start().await;
    let sale = world.create_sale("--items 2").await;
    world.at(0).buys(&sale, "zoe", "1").await;
    let path = checkout_path(&sale, "ann", "1");
    flood(&world.clients()[..1], 3, Method::POST, &path).await;

    let mut asked = 0;
    until("what one instance has counted is known to the other", async || {
        // It is counted itself.
        asked += 1;
        remaining(&world.at(1).get("/users/ann/purchases").await) <= 40 - 3 - asked
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_has_one_limit_for_all_clients_of_all_instances_in_every_version() {
    let world = World::plan(3)
        .set("limits.buyer", "1/h burst 5")
        .set("limits.routes", "GET /sales 1/h burst 30, POST /checkout 1/h burst 20")
        .start()
        .await;
    let sale = world.create_sale("--items 9 --stock 99").await;

    let of_ann = flood(&world.clients(), 40, Method::POST, &checkout_path(&sale, "ann", "1")).await;
    assert_eq!(let_in(&of_ann), 5);
    // What the limit of ann has refused does not count for the route: 15 are left, for others.
    let clients = world.clients();
    let others = join_all((0..60).map(|number| {
        let version = ["", "/v1"][number % 2];
        let path = checkout_path(&sale, &format!("buyer-{number}"), "1");
        let (client, path) = (clients[number % 3].clone(), format!("{version}{path}"));
        async move { client.send(Method::POST, &path, &[]).await }
    }));
    assert_eq!(let_in(&others.await), 15);

    let lists = flood(&clients, 30, Method::GET, "/v2/sales").await;
    assert_eq!(let_in(&lists), 30);
    let head = flood(&clients, 9, Method::HEAD, "/v2/sales").await;
    assert!(head.iter().all(|answer| answer.status == 429));
    let refused = world.at(1).get("/v2/sales").await.problem(429, "rate_limited");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"route\";q=1;w=3600"));
    assert!(refused.header("ratelimit").unwrap().starts_with("\"route\";r=0;t="));
    assert!(refused.header("retry-after").is_some());
    assert!(refused.at("/detail").as_str().unwrap().contains("this route"), "{refused:?}");
    world.at(0).get(&format!("/v2/sales/{sale}")).await.is(200);
    let mut by_route = 0.0;
    for instance in 0..3 {
        by_route += world.metrics(instance).await.sum("flash_sale_rate_limited_total", &["route"]);
    }
    assert_eq!(by_route, 45.0 + 9.0 + 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_a_route_that_does_not_exist_stops_the_start_and_names_those_that_do() {
    let world = World::of(0).await;
    world.program.run(&["migrate"]).await.succeeded();

    for route in ["POST /chekout 5/s", "GET /checkout 5/s", "GET /v2/sales 5/s", "GET /health 5/s"]
    {
        let ran = world.program.clone().set("limits.routes", route).run(&["serve"]).await;
        assert_eq!(ran.code, Some(1), "{ran}");
        let named = route.trim_end_matches(" 5/s");
        assert!(ran.stderr.contains(&format!("there is no route {named}")), "{ran}");
        assert!(ran.stderr.contains("POST /checkout,"), "{ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_use_up_what_a_route_may_do() {
    let issuer = Issuer::es256("a");
    let file = std::env::temp_dir().join(format!("keys-{}.json", uuid::Uuid::now_v7()));
    std::fs::write(&file, key_set(&[&issuer])).unwrap();
    let world = World::plan(1)
        .set("auth.buyers", "jwt")
        .set("auth.jwt.jwks_file", file.to_str().unwrap())
        .set("limits.routes", "POST /checkout 1/h burst 5")
        .start()
        .await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let path = format!("/checkout?item_id=1&sale_id={sale}");

    let strangers = flood(&world.clients(), 20, Method::POST, &path).await;
    assert!(strangers.iter().all(|answer| answer.status == 401));
    let authorization = format!("Bearer {}", issuer.token_for("ann"));
    let ann = world.at(0).send(Method::POST, &path, &[("authorization", &authorization)]).await;

    assert!(ann.is(200).header("ratelimit").unwrap().starts_with("\"route\";r=4;t="));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_addresses_do_not_help() {
    let world = World::plan(1).set("limits.address", "1/h burst 5").start().await;

    let answers = join_all((0..20).map(|number| {
        let (address, forwarded) = (format!("192.0.2.{number}"), format!("for=192.0.2.{number}"));
        let client = world.at(0);
        async move {
            let headers = [("x-forwarded-for", address.as_str()), ("forwarded", &forwarded)];
            client.send(Method::GET, "/sales/active", &headers).await
        }
    }));

    assert_eq!(let_in(&answers.await), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_clients_are_counted_by_their_own_addresses() {
    let world = World::plan(1)
        .set("limits.address", "1/h burst 2")
        .set("limits.trusted_proxies", "127.0.0.0/8, 10.0.0.0/8")
        .start()
        .await;
    let from = async |header: &str, list: &str| {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let answer = world.at(0).send(Method::GET, "/sales/active", &[(header, list)]).await;
            statuses.push(answer.status);
        }
        statuses
    };
    let (fresh, known) = ([200, 200, 429], [429, 429, 429]);

    assert_eq!(from("x-forwarded-for", "192.0.2.1").await, fresh);
    assert_eq!(from("x-forwarded-for", "9.9.9.9, 192.0.2.1, 10.0.0.9").await, known);
    assert_eq!(from("forwarded", "for=192.0.2.1;proto=https").await, known);
    assert_eq!(from("x-forwarded-for", "::ffff:192.0.2.1").await, known);
    assert_eq!(from("x-forwarded-for", "2001:db8:1:2::1").await, fresh);
    assert_eq!(from("forwarded", "for=\"[2001:db8:1:2:9::9]:443\"").await, known);
    assert_eq!(from("x-forwarded-for", "2001:db8:1:3::1").await, fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_every_instance_accepts_its_share() {
    let plan = World::plan(2).set("limits.buyer", "1/h burst 100").private_redis();
    let world = plan.start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    world.redis_server.as_ref().unwrap().run("kill-redis");
    until("the instances know that Redis is away", async || {
        let health = world.instances[0].monitor.get("/healthz").await.body;
        let other = world.instances[1].monitor.get("/healthz").await.body;
        health.contains("degraded") && other.contains("degraded")
    })
    .await;

    for instance in [0, 1] {
        let client = [world.at(instance).clone()];
        let answers = flood(&client, 120, Method::POST, &checkout_path(&sale, "ann", "1")).await;
        assert_eq!(let_in(&answers), 50);
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_count_for_their_address_and_good_ones_for_their_buyer() {
    let issuer = Issuer::es256("a");
    let file = std::env::temp_dir().join(format!("keys-{}.json", uuid::Uuid::now_v7()));
    std::fs::write(&file, key_set(&[&issuer])).unwrap();
    let world = World::plan(2)
        .set("auth.buyers", "jwt")
        .set("auth.jwt.jwks_file", file.to_str().unwrap())
        .set("limits.buyer", "1/h burst 10")
        .set("limits.address", "1/h burst 60")
        .start()
        .await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let path = format!("/checkout?item_id=1&sale_id={sale}");
    let send = |number: usize, token: String| {
        let client = world.at(number % 2);
        let path = &path;
        async move {
            let authorization = format!("Bearer {token}");
            client.send(Method::POST, path, &[("authorization", &authorization)]).await
        }
    };

    let good = join_all((0..30).map(|number| send(number, issuer.token_for("ann")))).await;
    assert_eq!(let_in(&good), 10);
    let mut refused = 0;
    until("the address has reached its limit", async || {
        let answer = send(0, "bad".to_owned()).await;
        refused += usize::from(answer.status == 401);
        answer.status == 429
    })
    .await;
    assert!((50..=52).contains(&refused), "{refused}");
}
