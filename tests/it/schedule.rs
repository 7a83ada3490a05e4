//! Scheduled sales: the sale of the current hour is open, whenever the service starts, and no hour opens twice.

use chrono::{DateTime, Timelike, Utc};
use serde_json::Value;

use crate::harness::{World, eventually, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_within_the_hour_finds_the_sale_of_the_hour_open() {
    let world = World::plan(1).set("schedule.enabled", "true").start().await;

    let scheduled = eventually("the hour's sale is open", async || {
        let active = world.at(0).get("/sales/active").await.is(200);
        Some(active.at("/data").as_array()?.first()?.clone())
    })
    .await;

    let (start, end) = (time(&scheduled["starts_at"]), time(&scheduled["ends_at"]));
    let now = time(&scheduled["server_time"]);
    assert_eq!((start.minute(), start.second(), start.nanosecond()), (0, 0, 0));
    assert!(start <= now && now < end, "{scheduled}");
    assert_eq!((end - start).num_seconds(), 3_600);
    for (field, value) in
        [("items", 10_000), ("remaining", 10_000), ("sold", 0), ("buyer_limit", 10)]
    {
        assert_eq!(scheduled[field], value, "{scheduled}");
    }
    assert_eq!(scheduled["state"], "open");
    let added = world.create_sale("--items 5").await;
    let active = world.at(0).get("/sales/active").await.is(200);
    assert_eq!(active.at("/data/0/sale_id"), scheduled["sale_id"]);
    assert_eq!(active.at("/data/1/sale_id"), added.as_str());
    let checkout = world.at(0).post("/checkout?user_id=ann&item_id=10000").await.is(200);
    assert_eq!(checkout.at("/sale_id"), scheduled["sale_id"]);
    world.at(0).purchase(&checkout.checkout_code()).await.is(200);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_start_together_on_an_empty_database_open_each_hour_once() {
    let world = World::plan(2).empty_database().set("schedule.enabled", "true").start().await;

    for hours_ahead in [0_i32, 1] {
        until("the sales of this and the next hour are written", async || {
            let written = "SELECT count(*) FROM sales WHERE schedule IS NOT NULL \
                           AND starts_at = date_trunc('hour', now()) + make_interval(hours => $1)";
            let written = sqlx::query_scalar::<_, i64>(written).bind(hours_ahead);
            written.fetch_one(world.pool()).await.unwrap() == 1
        })
        .await;
    }

    let twice: Vec<String> = sqlx::query_scalar(
        "SELECT starts_at::text FROM sales GROUP BY schedule, starts_at HAVING count(*) > 1",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(twice, Vec::<String>::new());
    let incomplete: Vec<String> = sqlx::query_scalar(
        "SELECT s.public_id FROM sales s WHERE s.items <> 10000
            OR (SELECT count(*) FROM items i WHERE i.sale_id = s.id) <> 10000
            OR (SELECT sum(k.stock) FROM item_stock k WHERE k.sale_id = s.id) <> 10000
            OR (SELECT count(*) FROM sale_audit a WHERE a.sale_id = s.id AND a.action = 'created') <> 1",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(incomplete, Vec::<String>::new());
    let one = world.at(0).get("/sales/active").await.is(200).at("/data/0/sale_id");
    let other = world.at(1).get("/sales/active").await.is(200).at("/data/0/sale_id");
    assert_eq!(one, other);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sale_follows_the_other_by_the_schedule() {
    let world = World::plan(2)
        .set("schedule.enabled", "true")
        .set("schedule.cron", "*/5 * * * * *")
        .set("schedule.duration", "5s")
        .set("schedule.items", "20")
        .set("schedule.interval", "200ms")
        .start()
        .await;

    let mut sales = Vec::<String>::new();
    let mut number = 0;
    until("three sales were open one after the other", async || {
        number += 1;
        let wish = format!("/checkout?user_id=buyer-{number}&item_id={}", number % 20 + 1);
        let answer = world.at(number % 2).post(&wish).await;
        match answer.status {
            200 => {
                let sale = answer.at("/sale_id").as_str().unwrap().to_owned();
                if !sales.contains(&sale) {
                    sales.push(sale);
                }
            }
            // Only before the first one was written.
            404 => assert!(sales.is_empty(), "a gap after {sales:?}: {}", answer.body),
            // One sale ended and the next one started while the request was served.
            409 => drop(answer.refuses(409, "sale_not_started")),
            _ => drop(answer.refuses(410, "sale_ended")),
        }
        sales.len() == 3
    })
    .await;

    world.verify().await;
}

fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap();
    assert!(text.ends_with('Z'), "not in UTC: {text}");
    text.parse().unwrap()
}
