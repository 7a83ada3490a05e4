//! Reads: sales, items, purchases and histories, page by page.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_has_every_field_of_the_contract() {
    let world = World::of(1).await;
    let sale =
        world.create_sale("--items 12 --stock 3 --buyer-limit 7 --name Zest --duration 2h").await;
    let code = world.at(0).checkout_pieces(&sale, "ann", "1", 2).await.checkout_code();
    world.at(0).purchase(&code).await.is(200);

    world.sells_exactly(&sale, 2).await;

    let read = world.sale(&sale).await;
    for (field, value) in [
        ("sale_id", json!(sale)),
        ("name", json!("Zest")),
        ("state", json!("open")),
        ("buyer_limit", json!(7)),
        ("items", json!(12)),
        ("sold", json!(2)),
        ("remaining", json!(34)),
    ] {
        assert_eq!(read[field], value, "{read}");
    }
    for field in ["starts_at", "ends_at", "server_time"] {
        let time = read[field].as_str().unwrap();
        assert!(
            time.parse::<chrono::DateTime<chrono::Utc>>().is_ok() && time.ends_with('Z'),
            "{read}"
        );
    }
    let active = world.at(0).get("/sales/active").await.is(200);
    let names = |sale: &Value| sale.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&active.at("/data/0")), names(&read));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_open_sales_are_active() {
    let world = World::of(1).await;

    assert_eq!(world.at(0).get("/sales/active").await.is(200).at("/data"), json!([]));
    let upcoming = world.create_sale("--items 5 --starts-in 1h").await;
    let brief = world.create_sale("--items 5 --duration 1s").await;
    let open = world.create_sale("--items 5").await;

    assert_eq!(world.sale(&upcoming).await["state"], "upcoming");
    world.sale_is(&brief, "ended").await;
    until("only the open sale is active", async || {
        let active = world.at(0).get("/sales/active").await.is(200).at("/data");
        let ids = active.as_array().unwrap().iter().map(|sale| sale["sale_id"].clone());
        ids.collect::<Vec<_>>() == [json!(open)]
    })
    .await;
    world.at(0).get("/sales/S-ZZZZZZ").await.refuses(404, "sale_not_found");
    world.at(0).get("/sales/S-ZZZZZZ/items").await.refuses(404, "sale_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_listed_by_number_page_by_page() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 120").await;
    let list = format!("/sales/{sale}/items");

    let first = world.at(0).get(&list).await.is(200);
    assert_eq!(ids(&first.at("/data")), (1..=50).map(|no| no.to_string()).collect::<Vec<_>>());
    assert_eq!(
        first.at("/pagination"),
        json!({"page": 1, "limit": 50, "total_items": 120, "total_pages": 3,
               "has_next": true, "has_previous": false})
    );
    let item = first.at("/data/0");
    assert_eq!((&item["stock"], &item["remaining"]), (&json!(1), &json!(1)));
    assert!(item["name"].is_string() && item["image_url"].is_string(), "{item}");
    let third = world.at(0).get(&format!("{list}?page=3")).await.is(200);
    assert_eq!(ids(&third.at("/data")), (101..=120).map(|no| no.to_string()).collect::<Vec<_>>());
    assert_eq!(
        (third.at("/pagination/has_next"), third.at("/pagination/has_previous")),
        (json!(false), json!(true))
    );
    let large = world.at(0).get(&format!("{list}?limit=100&page=2")).await.is(200);
    assert_eq!(ids(&large.at("/data")).len(), 20);
    for past in [4, 1_000_000] {
        let page = world.at(0).get(&format!("{list}?page={past}")).await.is(200);
        assert_eq!((page.at("/data"), page.at("/pagination/total_items")), (json!([]), json!(120)));
        assert_eq!(page.at("/pagination/has_next"), false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sold_items_are_left_out_when_only_available_ones_are_wanted() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 6").await;
    world.at(0).buys(&sale, "ann", "3").await;
    world.at(1).buys(&sale, "bob", "5").await;

    for client in world.clients() {
        let list = format!("/sales/{sale}/items?available=true&limit=4");
        until("sold items are left out", async || {
            let available = client.get(&list).await.is(200);
            ids(&available.at("/data")) == ["1", "2", "4", "6"]
                && available.at("/pagination/total_items") == 4
        })
        .await;
        let all = client.get(&format!("/sales/{sale}/items?available=false")).await.is(200);
        assert_eq!(all.at("/pagination/total_items"), 6);
        assert_eq!((all.at("/data/2/stock"), all.at("/data/2/remaining")), (json!(1), json!(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_can_be_read_once_it_is_there() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 5").await;
    let code = world.at(0).collects(&sale, "ann", "2").await;
    let path = format!("/purchases/{code}");

    world.at(1).get(&path).await.refuses(404, "not_purchased");
    let purchase = world.at(0).purchase(&code).await.is(200);
    let stored = world.at(1).get(&path).await.is(200);

    assert_eq!((stored.at("/code"), stored.at("/sale_id")), (json!(code), json!(sale)));
    assert!(stored.at("/purchased_at").as_str().is_some_and(|time| time.ends_with('Z')));
    for field in ["success", "purchased_items", "total_purchased", "failed_count", "failed_items"] {
        let field = format!("/{field}");
        assert_eq!(stored.at(&field), purchase.at(&field), "{}", stored.body);
    }
    world.at(0).get("/purchases/CHK-S-1-nonsense").await.refuses(404, "code_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyers_history_is_newest_first_and_can_be_narrowed_to_a_sale() {
    let world = World::of(2).await;
    let (one, other) = (world.create_sale("--items 5").await, world.create_sale("--items 5").await);
    let mut codes = Vec::new();
    for (number, sale) in [&one, &other, &one, &one].into_iter().enumerate() {
        codes.insert(0, world.at(number % 2).buys(sale, "ann", &(number + 1).to_string()).await);
    }
    world.at(0).buys(&one, "Ann", "5").await;

    let history = world.at(0).get("/users/ann/purchases").await.is(200);
    assert_eq!(strings(&history.at("/data"), "code"), codes);
    let narrowed = world.at(1).get(&format!("/users/ann/purchases?sale_id={other}")).await.is(200);
    assert_eq!(strings(&narrowed.at("/data"), "code"), [codes[2].clone()]);
    let second = world.at(0).get("/users/ann/purchases?limit=3&page=2").await.is(200);
    assert_eq!(strings(&second.at("/data"), "code"), [codes[3].clone()]);
    assert_eq!(
        second.at("/pagination"),
        json!({"page": 2, "limit": 3, "total_items": 4, "total_pages": 2,
               "has_next": false, "has_previous": true})
    );
    let entry = world.at(0).get(&format!("/purchases/{}", codes[0])).await.is(200).json();
    assert_eq!(history.at("/data/0"), entry);
    let none = world.at(0).get("/users/zoe/purchases").await.is(200);
    assert_eq!((none.at("/data"), none.at("/pagination/total_items")), (json!([]), json!(0)));
}

fn ids(items: &Value) -> Vec<String> {
    strings(items, "id")
}

fn strings(entries: &Value, field: &str) -> Vec<String> {
    entries.as_array().unwrap().iter().map(|e| e[field].as_str().unwrap().to_owned()).collect()
}
