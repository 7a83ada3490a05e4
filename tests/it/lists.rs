//! Lists of version 2: page by page, by cursors that only the service can make; and conditional requests.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::harness::{Answer, Client, Wire, World, eventually};

/// The cursor of the next page.
fn next(answer: &Answer) -> Option<String> {
    answer.at("/next_cursor").as_str().map(str::to_owned)
}

/// Follows the links of a list to its end. Returns the entries and the number of pages.
async fn walk(client: &Client, first: &str) -> (Vec<Value>, usize) {
    let (mut entries, mut answers, mut path) = (Vec::new(), 0, first.to_owned());
    loop {
        let answer = client.get(&path).await.is(200);
        entries.extend(answer.at("/data").as_array().unwrap().iter().cloned());
        answers += 1;
        let Some(cursor) = next(&answer) else {
            assert!(answer.header("link").is_none());
            return (entries, answers);
        };
        let link = answer.header("link").unwrap();
        let (link, relation) = link.split_once(">; ").unwrap();
        assert_eq!(relation, "rel=\"next\"");
        link.trim_start_matches('<').clone_into(&mut path);
        assert!(path.contains(&cursor), "{path}");
    }
}

fn ids(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_items_is_walked_from_any_instance_and_nothing_comes_twice() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 23 --stock 1").await;
    for item in ["2", "5", "23"] {
        world.at(0).buys(&sale, &format!("buyer-{item}"), item).await;
    }

    let (all, answers) = walk(world.at(0), &format!("/v2/sales/{sale}/items?limit=5")).await;
    let numbers: Vec<_> = (1..=23).map(|number: i32| number.to_string()).collect();
    assert_eq!((ids(&all), answers), (numbers.iter().map(String::as_str).collect(), 5));
    let left = format!("/v2/sales/{sale}/items?available=true&limit=10");
    let (left, answers) = walk(world.at(1), &left).await;
    assert_eq!((left.len(), answers), (20, 2));
    assert!(!ids(&left).contains(&"5"));

    // An instance accepts another instance's cursor, also when the entry that it names is no longer in the list.
    let first = format!("/v2/sales/{sale}/items?available=true&limit=1");
    let cursor = next(&world.at(0).get(&first).await.is(200)).unwrap();
    world.at(0).buys(&sale, "quick", "1").await;
    let second = world.at(1).get(&format!("{first}&cursor={cursor}")).await.is(200);
    assert_eq!(second.at("/data/0/id"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_sale_that_is_nearly_sold_out_leave_nothing_out_and_are_empty_only_at_the_end() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 2110").await;
    let sold = "UPDATE item_stock SET sold = stock WHERE item_no <= 2050";
    sqlx::query(sold).execute(world.pool()).await.unwrap();

    let path = format!("/v2/sales/{sale}/items?available=true&limit=50");
    let (left, answers) = walk(world.at(0), &path).await;
    assert_eq!((left.len(), answers), (60, 2));
    assert_eq!((ids(&left)[0], ids(&left)[59]), ("2051", "2110"));
    let sold = "UPDATE item_stock SET sold = stock";
    sqlx::query(sold).execute(world.pool()).await.unwrap();
    let nothing = world.at(0).get(&path).await.is(200);
    assert_eq!((nothing.at("/data"), next(&nothing)), (serde_json::json!([]), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_changed_or_is_of_another_list_is_refused() {
    let world = World::of(1).await;
    let (sale, other) =
        (world.create_sale("--items 9").await, world.create_sale("--items 9").await);
    let client = world.at(0);
    let items = format!("/v2/sales/{sale}/items?limit=2");
    let cursor = next(&client.get(&items).await.is(200)).unwrap();
    client.get(&format!("{items}&cursor={cursor}")).await.is(200);

    let changed: String = cursor.chars().rev().collect();
    let refused = [
        format!("{items}&cursor={changed}"),
        format!("{items}&cursor={cursor}A"),
        format!("{items}&cursor="),
        format!("{items}&cursor=%00"),
        format!("{items}&cursor={}", "A".repeat(5_000)),
        format!("{items}&cursor={cursor}&cursor={cursor}"),
        format!("{items}&cursor={cursor}&page=1"),
        format!("{items}&cursor={cursor}&available=true"),
        format!("/v2/sales/{other}/items?cursor={cursor}"),
        format!("/v2/sales?cursor={cursor}"),
        format!("/v2/buyers/ann/purchases?cursor={cursor}"),
    ];
    for path in refused {
        let answer = client.get(&path).await.is(400);
        assert_eq!(answer.at("/code"), "validation_failed", "{path}");
        assert_eq!(answer.at("/errors/0/parameter"), "cursor", "{path}");
    }
    let faults = client.get("/v2/sales?state=closed&since=today&limit=0&page=1").await.is(400);
    let faults = faults.at("/errors");
    let named: BTreeSet<_> =
        faults.as_array().unwrap().iter().filter_map(|fault| fault["parameter"].as_str()).collect();
    assert_eq!(named, BTreeSet::from(["limit", "page", "since", "state"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_are_listed_newest_first_by_state_and_since_a_time() {
    let world = World::of(1).await;
    let mut sales = Vec::new();
    for hours in [3, 0, 2, 0] {
        sales.push(world.create_sale(&format!("--items 1 --starts-in {hours}h")).await);
    }
    let client = world.at(0);

    let (all, _) = walk(client, "/v2/sales?limit=3").await;
    assert_eq!(ids(&all), [&*sales[0], &sales[2], &sales[3], &sales[1]]);
    let (open, answers) = walk(client, "/v2/sales?state=open&limit=1").await;
    assert_eq!((ids(&open), answers), (vec![&*sales[3], &sales[1]], 2));
    let since = all[1]["starts_at"].as_str().unwrap();
    let (late, _) = walk(client, &format!("/v2/sales?since={since}&state=upcoming")).await;
    assert_eq!(ids(&late), [&*sales[0], &sales[2]]);
    let (ended, _) = walk(client, "/v2/sales?state=ended").await;
    assert!(ended.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyers_purchases_are_listed_newest_first() {
    let world = World::of(1).await;
    let (one, other) = (world.create_sale("--items 9").await, world.create_sale("--items 9").await);
    let mut codes = Vec::new();
    for (sale, item) in [(&one, "1"), (&other, "1"), (&one, "2"), (&one, "3")] {
        codes.push(world.at(0).buys(sale, "ann", item).await);
    }
    world.at(0).buys(&one, "bob", "4").await;
    codes.reverse();

    let (all, answers) = walk(world.at(0), "/v2/buyers/ann/purchases?limit=2").await;
    let listed: Vec<_> = all.iter().map(|purchase| purchase["code"].as_str().unwrap()).collect();
    assert_eq!((listed, answers), (codes.iter().map(String::as_str).collect(), 2));
    let of_one = format!("/v2/buyers/ann/purchases?sale_id={other}");
    assert_eq!(walk(world.at(0), &of_one).await.0.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_the_current_answer_gets_304_until_it_changes() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 3").await;
    let again = async |path: &str, tag: &str| {
        world.at(1).send(Method::GET, path, &[("if-none-match", tag)]).await
    };

    for path in [format!("/v2/sales/{sale}"), format!("/v2/sales/{sale}/items?limit=2")] {
        let first = world.at(0).get(&path).await.is(200);
        let tag = first.header("etag").unwrap().to_owned();
        let unchanged = again(&path, &tag).await.is(304);
        assert_eq!(
            (unchanged.body.as_str(), unchanged.header("etag")),
            ("", Some(&*tag)),
            "{path}"
        );
        again(&path, "\"other\"").await.is(200);
        for method in ["GET", "HEAD"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
            );
            let mut wire = Wire::connect(world.at(0).address).await.unwrap();
            assert!(wire.send(request.as_bytes()).await);
            let received = wire.receive().await;
            assert_eq!(
                (received.status, received.body.as_str()),
                (Some(304), ""),
                "{method} {path}"
            );
            assert!(
                !received.head.to_lowercase().contains("content-length"),
                "{method}: {}",
                received.head
            );
        }
    }
    let path = format!("/v2/sales/{sale}");
    let before = world.at(0).get(&path).await.is(200);
    assert!(before.header("server-time").is_some());
    world.at(0).buys(&sale, "ann", "1").await;
    let tag = before.header("etag").unwrap();
    let at_once = world.at(0).send(Method::GET, &path, &[("if-none-match", tag)]).await.is(200);
    assert_eq!(at_once.at("/pieces/sold"), 1);
    // Another instance may answer with a sum of the last quarter of a second.
    let changed = eventually("the other instance has a new sum", async || {
        let answer = again(&path, tag).await;
        (answer.status != 304).then_some(answer)
    })
    .await;
    assert_eq!(changed.is(200).at("/pieces/sold"), 1);
}
