//! A repeated request of an operator changes something once, at whatever instance it arrives.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Operator, World, at_once};

async fn stock(operator: &Operator, sale: &str) -> Value {
    operator
        .get(&format!("/admin/audit?sale_id={sale}&limit=1"))
        .await
        .is(200)
        .at("/data/0/after/stock")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_with_one_key_change_something_once() {
    let (world, ports) = World::with_admin(2).await;
    let operators = world.operators(&ports).await;
    let sale = world.create_sale("--items 2").await;
    let restock = format!("/admin/sales/{sale}/items/1/restock");

    let all = (0..8).map(|number| {
        let (operator, restock) = (operators[number % 2].clone(), restock.clone());
        async move { operator.keyed(&restock, "one", &json!({ "pieces": 5 })).await }
    });
    let answers = at_once(all).await;

    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.at("/stock"), 6, "{answer:?}");
    }
    let own = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none());
    assert_eq!(own.count(), 1);
    assert_eq!(stock(&operators[0], &sale).await, 6);
    let later = operators[1].keyed(&restock, "one", &json!({ "pieces": 5 })).await.is(200);
    assert_eq!(later.header("idempotent-replayed"), Some("true"));
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request_of_one_operator() {
    let (world, ports) = World::with_admin(1).await;
    let eve = &world.operators(&ports).await[0];
    let (_, key) = world.create_key("bob", "--scopes operate").await;
    let bob = Operator::new(&ports[0], &key);
    let sale = world.create_sale("--items 2").await;
    let restock = format!("/admin/sales/{sale}/items/1/restock");
    eve.keyed(&restock, "one", &json!({ "pieces": 5 })).await.is(200);

    let other_content = eve.keyed(&restock, "one", &json!({ "pieces": 6 })).await;
    let other_path = restock.replace("/1/", "/2/");
    let other_target = eve.keyed(&other_path, "one", &json!({ "pieces": 5 })).await;
    let other_owner = bob.keyed(&restock, "one", &json!({ "pieces": 5 })).await;

    other_content.problem(422, "idempotency_key_reused");
    other_target.problem(422, "idempotency_key_reused");
    assert_eq!(other_owner.is(200).at("/stock"), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_uses_no_key_and_every_post_has_one() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];
    let new = json!({ "name": "tens", "cron": "*/10 * * * * *", "type": "noop" });
    operator
        .keyed("/admin/schedules/tens/run", "one", &Value::Null)
        .await
        .problem(404, "schedule_not_found");
    operator.keyed("/admin/schedules", "two", &new).await.is(201);

    let first = operator.keyed("/admin/schedules/tens/run", "one", &Value::Null).await.is(200);
    let repeat = operator.keyed("/admin/schedules/tens/run", "one", &Value::Null).await.is(200);
    let added_again = operator.keyed("/admin/schedules", "two", &new).await.is(201);
    let job = json!({ "type": "noop", "priority": "high" });
    let jobs = [
        operator.keyed("/admin/jobs", "three", &job).await.is(201),
        operator.keyed("/admin/jobs", "three", &job).await.is(201),
    ];
    let sale = json!({ "items": 3, "name": "Socks" });
    let sales = [
        operator.keyed("/admin/sales", "four", &sale).await.is(201),
        operator.keyed("/admin/sales", "four", &sale).await.is(201),
    ];

    assert_eq!(repeat.content(), first.content());
    assert_eq!(added_again.header("idempotent-replayed"), Some("true"));
    assert_eq!(jobs[0].content(), jobs[1].content());
    assert_eq!(sales[0].content(), sales[1].content());
    let listed = operator.get("/admin/jobs").await.is(200).at("/data");
    assert_eq!(listed.as_array().unwrap().len(), 2);
    for bad in ["", "a b,c", &"x".repeat(256)] {
        let headers = [("content-type", "application/json"), ("idempotency-key", bad)];
        let refused = operator.send(Method::POST, "/admin/jobs", &headers, job.to_string()).await;
        refused.problem(400, "validation_failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_answer_was_lost_is_not_made_again() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];
    let sale = world.create_sale("--items 2").await;
    let restock = format!("/admin/sales/{sale}/items/1/restock");
    operator.keyed(&restock, "one", &json!({ "pieces": 5 })).await.is(200);
    // As if the instance had died between the two transactions.
    let lose = "UPDATE operator_requests SET status = NULL, answer = NULL, created_at = now() - interval '1 minute'";
    sqlx::query(lose).execute(world.pool()).await.unwrap();

    let repeat = operator.keyed(&restock, "one", &json!({ "pieces": 5 })).await;

    repeat.problem(409, "answer_lost");
    assert_eq!(stock(operator, &sale).await, 6);
}
