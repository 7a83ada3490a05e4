//! The commands other than `serve`.

use crate::harness::{Program, World, commands::Ran};

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_exit_with_2_and_one_sentence() {
    let bad = [
        "frobnicate",
        "serve --frobnicate",
        "sale",
        "sale create",
        "sale create --items",
        "sale create --items 0",
        "sale create --items -1",
        "sale create --items many",
        "sale create --items 99999999999999999999",
        "sale create --items 5 --stock 0",
        "sale create --items 5 --buyer-limit 0",
        "sale create --items 5 --duration 0s",
        "sale create --items 5 --duration soon",
        "sale create --items 5 --starts-in yesterday",
        "sale create --items 5 --starts-at 10:00",
        "sale create --items 5 --starts-in 1h --starts-at 2099-01-01T00:00:00Z",
        "sale list --output xml",
        "sale list --output svg",
        "migrate --output svg",
        "sale report",
        "sale report 17",
        "verify --sale nonsense",
        "webhook",
        "webhook add",
        "webhook add https://shop.example/ --events frobnicated",
        "webhook show nonsense",
        "webhook replay wh_1",
        "sale restock S-1",
        "sale restock S-1 1 --pieces many",
        "sale restock 1 1 --pieces 1",
        "sale change S-1 --starts-at soon",
        "sale change S-1 --buyer-limit 0",
        "sale end",
        "sale import",
        "sale import items.csv",
        "sale import nowhere.csv --sale S-1 --name x",
        "sale import items.txt --sale nonsense",
        "purchase cancel",
        "purchase cancel CHK-S-1-1150000000000000000 --item",
        "purchase cancel CHK-S-1-1150000000000000000 --from codes.txt",
        "purchase cancel --from codes.txt --item 1",
        "purchase cancel --from codes.txt --workers 17",
        "purchase cancel CHK-S-1-1150000000000000000 --workers 2",
        "purchase cancel --from nowhere/codes.txt",
        "buyer show",
        "buyer show ann --limit 0",
        "buyer show ann --cursor x",
        "why",
        "why a%b",
        "audit list --since yesterday",
        "audit list --cursor x",
        "audit list --limit 0",
    ];

    for arguments in bad {
        let ran = Program::new().run(&arguments.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(ran.code, Some(2), "{arguments}: {ran}");
        assert_eq!(ran.stdout, "", "{arguments}");
        assert_eq!(ran.complaint().len(), 1, "{arguments}: {ran}");
        assert!(!ran.stderr.contains("panicked"), "{arguments}: {ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_sale_is_printed_listed_and_sold_at_once() {
    let world = World::of(1).await;

    let first = created(&world, "--items 3 --name First").await;
    let second = created(&world, "--items 4 --stock 2 --duration 30m").await;

    assert_eq!((&first["items"], &second["items"]), (&3.into(), &4.into()));
    let length = time(&second["ends_at"]) - time(&second["starts_at"]);
    assert_eq!(length.num_minutes(), 30);
    let listed = world.program.run(&["sale", "list"]).await.succeeded().documents();
    let ids: Vec<_> = listed.iter().map(|sale| &sale["sale_id"]).collect();
    assert_eq!(ids, [&second["sale_id"], &first["sale_id"]]);
    world.at(0).buys(second["sale_id"].as_str().unwrap(), "ann", "4").await;
    world.at(0).buys(first["sale_id"].as_str().unwrap(), "ann", "3").await;
    let table = world.program.run(&["sale", "list", "--output", "table"]).await.succeeded();
    assert!(table.stdout.contains("First") && !table.stdout.starts_with(['{', '[']), "{table}");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_what_was_broken_and_where() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;
    let sound = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    world.verify().await;

    // An item that is marked as sold without a purchase: it would never sell.
    let leak = "UPDATE item_stock SET sold = 1 WHERE item_no = 2 \
                AND sale_id = (SELECT id FROM sales WHERE public_id = $1)";
    sqlx::query(leak).bind(&sale).execute(world.pool()).await.unwrap();

    for arguments in [vec!["verify"], vec!["verify", "--sale", &sale]] {
        let audit = world.program.run(&arguments).await;
        assert_eq!(audit.code, Some(1), "{audit}");
        assert!(!audit.documents().is_empty(), "{audit}");
    }
    world.program.run(&["verify", "--sale", &sound]).await.succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_names_what_redis_would_refuse_for_good() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 5").await;
    world.at(0).buys(&sale, "ann", "1").await;
    let number: i64 = sqlx::query_scalar("SELECT id FROM sales WHERE public_id = $1")
        .bind(&sale)
        .fetch_one(world.pool())
        .await
        .unwrap();

    // Ten pieces without a purchase, with a version far in the future: no commit will ever correct it.
    let totals = format!("{}{{sale:{number}}}:buyer:bob", world.key_prefix);
    let mut redis = world.redis().await;
    let set = redis::cmd("SET")
        .arg(&[totals.as_str(), "9000000000000000 10"])
        .query_async::<()>(&mut redis)
        .await;
    set.unwrap();

    let audit = world.program.run(&["verify"]).await;
    assert_eq!(audit.code, Some(1), "{audit}");
    assert!(audit.stdout.contains("bob"), "{audit}");
    // It refuses no request all the same, because PostgreSQL decides.
    world.at(0).buys(&sale, "bob", "2").await;
    redis::cmd("DEL").arg(&totals).query_async::<()>(&mut redis).await.unwrap();
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_also_passes_in_the_middle_of_the_rush() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 200").await;
    let storm = crate::harness::Storm::over(&world.clients(), &sale, 200);

    for sold in [20, 80, 140] {
        storm.has_sold(sold).await;
        world.verify().await;
    }

    storm.receipts().await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_without_a_database_exits_with_2() {
    let nowhere = Program::new()
        .variable("DATABASE_URL", "postgres://nobody@127.0.0.1:9/nothing")
        .set("database.retries", "1")
        .set("database.connect_timeout", "300ms");

    let audit = nowhere.run(&["verify"]).await;

    assert_eq!(audit.code, Some(2), "{audit}");
    assert!(!audit.stderr.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_changes_nothing() {
    let world = World::plan(0).empty_database().start().await;

    world.program.run(&["migrate"]).await.succeeded();
    world.program.run(&["migrate"]).await.succeeded();

    world.program.run(&["verify"]).await.succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_probes_the_instance_on_this_machine() {
    let mut world = World::of(1).await;
    let port = world.instances[0].monitor.address.port().to_string();
    let probe = world.program.clone().set("monitoring.port", &port);

    let healthy = probe.run(&["health"]).await;
    world.stop().await;
    let gone = probe.run(&["health"]).await;

    assert_eq!((healthy.code, gone.code), (Some(0), Some(1)), "{healthy}\n{gone}");
}

async fn created(world: &World, options: &str) -> serde_json::Value {
    let arguments: Vec<&str> = ["sale", "create"].into_iter().chain(options.split(' ')).collect();
    let ran: Ran = world.program.run(&arguments).await.succeeded();
    let sale = ran.documents().remove(0);
    assert!(sale["sale_id"].as_str().is_some_and(|id| id.starts_with("S-")), "{ran}");
    sale
}

fn time(value: &serde_json::Value) -> chrono::DateTime<chrono::Utc> {
    value.as_str().unwrap().parse().unwrap()
}
