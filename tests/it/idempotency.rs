//! A write with an idempotency key happens once, however often and at whichever instance it is requested.

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use redis::AsyncCommands;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::locks::{hold_buyer, waiting};
use crate::harness::{Answer, Client, World, eventually, until};

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

fn code_of(answer: &Answer) -> String {
    answer.at("/code").as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_answer_from_any_instance_whatever_has_happened_since() {
    let mut world = World::of(2).await;
    let sale = world.create_sale("--items 3").await;
    let collect = async |world: &World, at: usize| {
        world.at(at).collect(&sale, "ann", &["1", "2"], "first").await
    };
    let first = collect(&world, 0).await.is(201);
    let code = code_of(&first);
    let line = format!("/v2/checkouts/{code}/items/3");
    let two = json!({ "quantity": 1 });
    let put = world.at(0).write(Method::PUT, &line, "put", &two).await.is(201);
    let deleted =
        world.at(0).send(Method::DELETE, &line, &[("idempotency-key", "delete")]).await.is(200);
    let bought = world.at(0).buy(&code, "buy").await.is(200);
    assert!(![&first, &put, &deleted, &bought].into_iter().any(replayed));

    let mut killed = world.instances.remove(0);
    killed.process.signal(Signal::SIGKILL);
    assert_eq!(killed.process.exit().await, None);
    // Another buyer has the last piece, so that every sale cache would refuse the request.
    world.at(0).buys(&sale, "bob", "3").await;

    for _ in 0..2 {
        let again = collect(&world, 0).await;
        assert_eq!(
            (again.content(), again.header("location")),
            (first.content(), first.header("location"))
        );
        let put_again = world.at(0).write(Method::PUT, &line, "put", &two).await;
        assert_eq!(put_again.content(), put.content());
        let headers = [("idempotency-key", "delete")];
        let deleted_again = world.at(0).send(Method::DELETE, &line, &headers).await;
        assert_eq!(deleted_again.content(), deleted.content());
        let bought_again = world.at(0).buy(&code, "buy").await;
        assert_eq!(bought_again.content(), bought.content());
        assert!([&again, &put_again, &deleted_again, &bought_again].into_iter().all(replayed));
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_another_request_is_refused_and_nothing_is_done() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let shop = world.at(0);
    let code = code_of(&shop.collect(&sale, "ann", &["1"], "k").await.is(201));
    let other = code_of(&shop.collect(&sale, "bob", &["1"], "k").await.is(201));
    assert_ne!(code, other, "keys belong to their callers");
    let line = format!("/v2/checkouts/{code}/items/2");

    let refused = [
        world.at(1).collect(&sale, "ann", &["2"], "k").await,
        world.at(1).write(Method::PUT, &line, "k", &json!({ "quantity": 1 })).await,
        world.at(1).send(Method::DELETE, &line, &[("idempotency-key", "\"k\"")]).await,
        world.at(1).buy(&code, "k").await,
    ];

    for answer in refused {
        answer.problem(422, "idempotency_key_reused");
    }
    assert_eq!(shop.get(&format!("/v2/checkouts/{code}")).await.at("/pieces"), 1);
    // The same request in another form: a key with and without quotes, a body with other spaces.
    let body =
        format!(r#" {{ "items" : [ {{"id":"1"}} ], "sale_id":"{sale}", "buyer_id":"ann" }} "#);
    let headers =
        [("content-type", "application/json; charset=utf-8"), ("idempotency-key", "\"k\"")];
    let again = shop.send_with(Method::POST, "/v2/checkouts", &headers, body).await.is(201);
    assert!(replayed(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_may_be_asked_again_with_the_same_key() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 2").await;
    world.at(0).buys(&sale, "bob", "1").await;
    world.at(0).collect(&sale, "ann", &["1"], "k").await.problem(409, "item_sold_out");

    let restock = "WITH more AS (UPDATE item_stock SET stock = 2 WHERE item_no = 1)
                   UPDATE sales SET generation = generation + 1";
    sqlx::query(restock).execute(world.pool()).await.unwrap();

    until("the item is collected", async || {
        let answer = world.at(0).collect(&sale, "ann", &["1"], "k").await;
        answer.status == 201 || answer.status_and_code() != (409, "item_sold_out".to_owned())
    })
    .await;
    assert!(replayed(&world.at(0).collect(&sale, "ann", &["1"], "k").await.is(201)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_refused_when_the_first_runs_for_long_and_afterwards_gets_its_answer() {
    let world =
        World::plan(2).set("redis.lock_wait", "200ms").set("redis.lock_ttl", "1m").start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    world.at(0).collect(&sale, "ann", &["1"], "before").await.is(201);
    let hold = hold_buyer(world.pool(), "ann").await;
    let collect = async |at: usize| world.at(at).collect(&sale, "ann", &["2", "3"], "k").await;

    let (first, ()) = tokio::join!(collect(0), async {
        waiting(world.pool(), 1).await;
        for at in [0, 1] {
            let refused = collect(at).await.problem(409, "idempotency_key_in_use");
            assert_eq!(refused.header("retry-after"), Some("1"));
        }
        hold.rollback().await.unwrap();
    });

    let first = first.is(200);
    until("a repeat gets the first answer", async || {
        let again = collect(1).await;
        again.content() == first.content() && replayed(&again)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_at_once_all_get_the_answer_of_the_one_that_runs() {
    const TAPS: u8 = 5;
    let world = World::plan(2).set("redis.lock_ttl", "1m").start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let code = code_of(&world.at(0).collect(&sale, "ann", &["1"], "before").await.is(201));

    for is_purchase in [false, true] {
        let before = key_look_ups(&world).await;
        let hold = hold_buyer(world.pool(), "ann").await;
        let mut taps = JoinSet::new();
        for tap in 0..TAPS {
            let (client, sale, code) =
                (world.at(usize::from(tap % 2)).clone(), sale.clone(), code.clone());
            taps.spawn(async move {
                if is_purchase {
                    client.buy(&code, "buy").await
                } else {
                    client.collect(&sale, "ann", &["2", "3"], "k").await
                }
            });
        }
        waiting(world.pool(), 1).await;
        until("each of them has looked its key up", async || {
            key_look_ups(&world).await >= before + f64::from(TAPS)
        })
        .await;
        hold.rollback().await.unwrap();

        let answers = taps.join_all().await;
        let fresh: Vec<_> = answers.iter().filter(|answer| !replayed(answer)).collect();
        assert_eq!(fresh.len(), 1);
        for answer in &answers {
            assert_eq!((answer.status, answer.content()), (200, fresh[0].content()));
        }
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_purchase_holds_one_lock_and_blocks_repeats_of_its_code_and_of_its_key() {
    let world = World::plan(2)
        .private_redis()
        .set("redis.lock_ttl", "1m")
        .set("redis.lock_wait", "200ms")
        .start()
        .await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let code = world.at(0).collects(&sale, "ann", "1").await;
    let hold = hold_buyer(world.pool(), "ann").await;

    let (first, ()) = tokio::join!(world.at(0).buy(&code, "k"), async {
        waiting(world.pool(), 1).await;
        let mut redis = world.redis().await;
        let locks = [redis.keys("*lock*").await.unwrap(), redis.keys("*gate*").await.unwrap()];
        assert_eq!(locks.map(|keys: Vec<String>| keys.len()), [1, 0]);
        for key in ["k", "another"] {
            let repeat = world.at(1).buy(&code, key).await.problem(409, "purchase_in_progress");
            assert_eq!(repeat.header("retry-after"), Some("1"));
        }
        world.at(1).purchase(&code).await.refuses(409, "purchase_in_progress");
        hold.rollback().await.unwrap();
    });

    let first = first.is(200);
    for key in ["k", "another"] {
        let repeat = eventually("the lock is released", async || {
            final_answer(world.at(1).buy(&code, key).await)
        })
        .await;
        assert_eq!((repeat.content(), replayed(&repeat)), (first.content(), true));
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_for_two_codes_at_once_buys_one_of_them() {
    let world = World::of(2).await;
    let mut codes = Vec::new();
    for _ in 0..2 {
        let sale = world.create_sale("--items 9 --stock 9").await;
        codes.push(world.at(0).collects(&sale, "ann", "1").await);
    }
    let (world, codes) = (&world, &codes);

    let answers = join_all((0..8).map(|n| {
        eventually("it is bought, or refused for good", async move || {
            let answer = world.at(n % 2).buy(&codes[n / 2 % 2], "k").await;
            (![409, 503].contains(&answer.status)).then_some(answer)
        })
    }))
    .await;

    let (bought, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(bought.iter().filter(|answer| !replayed(answer)).count(), 1);
    assert!(bought.iter().all(|answer| answer.content() == bought[0].content()));
    assert_eq!((bought.len(), refused.len()), (4, 4));
    for answer in refused {
        answer.problem(422, "idempotency_key_reused");
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_one_request_happens_once_with_and_without_redis() {
    for plan in [World::plan(3), World::plan(3).set("redis.circuit.mode", "open")] {
        let world = plan.start().await;
        let sale = world.create_sale("--items 9 --stock 99").await;
        let (world, sale) = (&world, &sale);
        let answers = join_all((0..60).map(|n| {
            eventually("it is accepted", async move || {
                final_answer(world.at(n % 3).collect(sale, "ann", &["1", "2"], "k").await)
            })
        }))
        .await;

        let first: Vec<_> = answers.iter().filter(|answer| !replayed(answer)).collect();
        assert_eq!(first.len(), 1);
        assert!(answers.iter().all(|answer| answer.content() == first[0].content()));
        let code = code_of(first[0]);
        let bought = join_all((0..30).map(|n| {
            let code = &code;
            eventually("it is bought", async move || {
                final_answer(world.at(n % 3).buy(code, "buy").await)
            })
        }))
        .await;
        assert_eq!(bought.iter().filter(|answer| !replayed(answer)).count(), 1);
        world.verify().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_its_effect_are_both_there_or_neither() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    let forbid =
        "ALTER TABLE idempotency_keys ADD CONSTRAINT no_mallory CHECK (user_id <> 'mallory')";
    sqlx::query(forbid).execute(world.pool()).await.unwrap();

    world.at(0).collect(&sale, "mallory", &["1"], "k").await.problem(500, "internal");

    let count = async |table: &str| {
        let sql = format!("SELECT count(*) FROM {table} WHERE user_id = 'mallory'");
        let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql));
        query.fetch_one(world.pool()).await.unwrap()
    };
    assert_eq!((count("buyers").await, count("checkout_attempts").await), (0, 0));
    let drop_it = "ALTER TABLE idempotency_keys DROP CONSTRAINT no_mallory";
    sqlx::query(drop_it).execute(world.pool()).await.unwrap();
    world.at(0).collect(&sale, "mallory", &["1"], "k").await.is(201);
    let keyless = "ALTER TABLE purchases ADD CONSTRAINT no_mallory CHECK (user_id <> 'mallory')";
    sqlx::query(keyless).execute(world.pool()).await.unwrap();
    let code = code_of(&world.at(0).collect(&sale, "mallory", &["1"], "k").await.is(201));
    world.at(0).buy(&code, "buy").await.problem(500, "internal");
    assert_eq!(count("idempotency_keys").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_for_a_day_and_then_go() {
    let world = World::plan(1).set("jobs.enabled", "true").start().await;
    let sale = world.create_sale("--items 9 --stock 9").await;
    for key in ["old", "young"] {
        world.at(0).collect(&sale, "ann", &["1"], key).await;
    }
    let age = "UPDATE idempotency_keys SET created_at = created_at - CASE key
                   WHEN 'old' THEN interval '24 hours 1 minute' ELSE interval '23 hours 30 minutes' END";
    sqlx::query(age).execute(world.pool()).await.unwrap();
    world.prints("schedule run prune-keys").await;

    let left = "SELECT array_agg(key) FROM idempotency_keys";
    until("the old key is gone", async || {
        let left: Vec<String> = sqlx::query_scalar(left).fetch_one(world.pool()).await.unwrap();
        left == ["young"]
    })
    .await;

    assert!(replayed(&world.at(0).collect(&sale, "ann", &["1"], "young").await));
    assert!(!replayed(&world.at(0).collect(&sale, "ann", &["1"], "old").await.is(200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_key_must_be_present_and_valid() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let shop = world.at(0);
    let code = shop.collects(&sale, "ann", "1").await;
    let body = json!({ "buyer_id": "bob", "sale_id": sale, "items": [{ "id": "1" }] }).to_string();
    let collect = async |headers: &[(&str, &str)]| {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        shop.send_with(Method::POST, "/v2/checkouts", &all, body.clone()).await
    };
    let purchase = format!("/v2/checkouts/{code}/purchase");

    collect(&[]).await.problem(400, "idempotency_key_missing");
    shop.send(Method::POST, &purchase, &[]).await.problem(400, "idempotency_key_missing");
    let long = "x".repeat(256);
    for key in ["", "\"\"", &long, "a b", "\"a", "a,b", "caf\u{e9}"] {
        let refused = collect(&[("idempotency-key", key)]).await.problem(400, "validation_failed");
        assert_eq!(refused.at("/errors/0/parameter"), "Idempotency-Key", "{key}");
        let refused = shop.send(Method::POST, &purchase, &[("idempotency-key", key)]).await;
        refused.problem(400, "validation_failed");
        let line = format!("/v2/checkouts/{code}/items/1");
        let refused = shop.send(Method::DELETE, &line, &[("idempotency-key", key)]).await;
        refused.problem(400, "validation_failed");
    }
    let twice = collect(&[("idempotency-key", "a"), ("idempotency-key", "b")]).await;
    twice.problem(400, "validation_failed");
    let widest = "x".repeat(255);
    collect(&[("idempotency-key", &widest)]).await.is(201);
    assert_eq!(shop.get(&format!("/v2/checkouts/{code}")).await.at("/state"), "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_repeats_until_it_is_answered_has_it_once_while_instances_are_killed() {
    const BUYERS: usize = 60;
    let mut world = World::of(3).await;
    let sale = world.create_sale("--items 200 --stock 1 --buyer-limit 3").await;
    let clients = world.clients();
    let shopping = join_all((0..BUYERS).map(|buyer| {
        let (clients, sale) = (clients.clone(), sale.clone());
        async move {
            let name = format!("buyer-{buyer}");
            let items = [buyer * 3 + 1, buyer * 3 + 2].map(|item| item.to_string());
            let body = json!({ "buyer_id": name, "sale_id": sale,
                               "items": [{ "id": items[0] }, { "id": items[1] }] });
            let collected =
                repeat(&clients, buyer, "/v2/checkouts", "collect", &body.to_string()).await;
            let code = collected.at("/code").as_str().unwrap().to_owned();
            let path = format!("/v2/checkouts/{code}/purchase");
            let bought = repeat(&clients, buyer, &path, "buy", "").await;
            assert_eq!(bought.at("/pieces_bought"), 2, "{}", bought.body);
        }
    }));
    let mut dying = world.instances.drain(1..).collect::<Vec<_>>();
    let ((), _) = tokio::join!(
        async {
            for instance in &mut dying {
                let bought = "SELECT count(*) FROM purchases";
                let before: i64 = sqlx::query_scalar(bought).fetch_one(world.pool()).await.unwrap();
                until("more is bought", async || {
                    let now: i64 =
                        sqlx::query_scalar(bought).fetch_one(world.pool()).await.unwrap();
                    // On a fast machine all may have bought before an instance is killed.
                    now > before + 5 || usize::try_from(now) == Ok(BUYERS)
                })
                .await;
                instance.process.signal(Signal::SIGKILL);
            }
        },
        shopping
    );

    let counts =
        "SELECT (SELECT count(*) FROM purchases), (SELECT count(*) FROM checkout_attempts),
                         (SELECT count(*) FROM idempotency_keys)";
    let counts: (i64, i64, i64) = sqlx::query_as(counts).fetch_one(world.pool()).await.unwrap();
    assert_eq!(counts, (60, 60, 120));
    world.verify().await;
}

/// Keys that both instances have looked up.
async fn key_look_ups(world: &World) -> f64 {
    let mut look_ups = 0.0;
    for instance in 0..2 {
        let count = "flash_sale_queue_wait_seconds_count";
        look_ups += world.metrics(instance).await.sum(count, &["queue=\"keys\""]);
    }
    look_ups
}

/// Sends the same request to one instance after the other until one of them answers.
async fn repeat(clients: &[Client], buyer: usize, path: &str, key: &str, body: &str) -> Answer {
    let mut turns = clients.iter().cycle().skip(buyer);
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    eventually("an instance answers", async || {
        let client = turns.next()?;
        client
            .attempt_with(Method::POST, path, &headers, body.to_owned())
            .await
            .and_then(final_answer)
    })
    .await
}

/// A final response; `None` if the client is to repeat the request.
fn final_answer(answer: Answer) -> Option<Answer> {
    assert!(answer.status < 400 || [409, 503].contains(&answer.status), "{}", answer.body);
    (answer.status < 400).then_some(answer)
}
