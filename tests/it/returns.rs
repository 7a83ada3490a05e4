//! Purchases that operators take back: the pieces sell again, the buyer's limit is given back, and the history stays. And what
//! operators are told of buyers and of refusals.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::locks::waiting;
use crate::harness::{Client, PATIENCE, Program, World, commands::Ran, until};

/// Runs a command of the binary.
async fn run(world: &World, arguments: &str) -> Ran {
    world.program.run(&arguments.split(' ').collect::<Vec<_>>()).await
}

/// The only document that a command prints.
async fn done(world: &World, arguments: &str) -> Value {
    let ran = run(world, arguments).await.succeeded();
    assert_eq!(ran.stdout.lines().count(), 1, "{ran}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Fails the test unless the command was refused with this reason, in one sentence.
async fn is_refused(world: &World, arguments: &str, reason: &str) {
    let ran = run(world, arguments).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{arguments}: {ran}");
    assert_eq!(ran.complaint().len(), 1, "{arguments}: {ran}");
    assert!(ran.stderr.contains(reason), "{arguments}: {ran}");
}

/// Buys one piece of each of these items in one checkout; its code.
async fn buys_all(client: &Client, sale: &str, user: &str, items: &[&str]) -> String {
    let mut code = String::new();
    for item in items {
        code = client.collects(sale, user, item).await;
    }
    client.purchase(&code).await.is(200);
    code
}

/// Buys a piece of an item as soon as one has returned. Another buyer may be faster, also after the checkout.
async fn buys_when_returned(client: &Client, sale: &str, user: &str, item: &str) {
    loop {
        let answer = client.checkout(sale, user, item).await;
        if answer.status == 200 && client.purchase(&answer.checkout_code()).await.status == 200 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_purchase_is_on_sale_again_on_all_instances_and_its_outcome_stays() {
    let world = World::of(3).await;
    let sale = world.create_sale("--items 3 --buyer-limit 2").await;
    let code = buys_all(world.at(0), &sale, "ann", &["1", "2"]).await;
    let answered = world.at(1).purchase(&code).await;
    for instance in 0..3 {
        world.at(instance).checkout(&sale, "bob", "1").await.refuses(409, "item_sold_out");
        world.at(instance).checkout(&sale, "ann", "3").await.refuses(400, "user_limit_exceeded");
    }

    let cancelled = done(&world, &format!("purchase cancel {code}")).await;

    assert_eq!((&cancelled["pieces_cancelled"], &cancelled["pieces_left"]), (&json!(2), &json!(0)));
    assert_eq!((&cancelled["buyer_id"], &cancelled["bought"]), (&json!("ann"), &json!(0)));
    for instance in 0..3 {
        let buyer = format!("buyer-{instance}");
        until("the item is on sale again", async || {
            world.at(instance).checkout(&sale, &buyer, "1").await.status == 200
        })
        .await;
    }
    until("the limit is given back", async || {
        world.at(2).checkout(&sale, "ann", "3").await.status == 200
    })
    .await;
    assert_eq!(world.at(2).purchase(&code).await.content(), answered.content());
    let read = world.at(1).get(&format!("/v2/purchases/{code}")).await.is(200);
    assert_eq!(read.at("/pieces_bought"), 2);
    let taken: Vec<_> = [0, 1].map(|at| read.at(&format!("/cancelled/{at}/id"))).into();
    assert_eq!(taken, ["1", "2"]);
    assert_eq!(read.at("/cancelled/0/cancelled_at"), cancelled["cancelled_at"]);
    let listed = world.at(0).get("/v2/buyers/ann/purchases").await.is(200);
    assert_eq!(listed.at("/data/0/cancelled"), read.at("/cancelled"));
    world.sells_exactly(&sale, 0).await;
    assert_eq!(world.sale(&sale).await["remaining"], 3);
    world.at(1).buys(&sale, "bob", "2").await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_items_are_taken_back_and_each_refusal_says_why() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 4").await;
    let code = buys_all(world.at(0), &sale, "ann", &["1", "2", "3"]).await;
    let open = world.at(0).collects(&sale, "bob", "4").await;

    let cancelled = done(&world, &format!("purchase cancel {code} --item 2")).await;

    assert_eq!(cancelled["items"], json!([{ "id": "2", "quantity": 1 }]));
    assert_eq!(cancelled["pieces_left"], 2);
    for (arguments, reason) in [
        (format!("{code} --item 2"), "item \"2\" is already cancelled"),
        (format!("{code} --item 1 --item 2"), "item \"2\" is already cancelled"),
        (format!("{code} --item 4"), "item \"4\" is not part of it"),
        (open, "was not purchased"),
        ("CHK-S-1-nonsense".to_owned(), "issued no such code"),
    ] {
        is_refused(&world, &format!("purchase cancel {arguments}"), reason).await;
    }
    let rest = done(&world, &format!("purchase cancel {code}")).await;
    assert_eq!((&rest["pieces_cancelled"], &rest["pieces_left"]), (&json!(2), &json!(0)));
    is_refused(&world, &format!("purchase cancel {code}"), "already cancelled").await;
    let audit = done(&world, &format!("audit list --sale {sale} --limit 2")).await;
    let entry = &audit["data"][0];
    assert_eq!(entry["action"], "purchase_cancelled");
    assert_eq!(entry["subject"], format!("purchase {code}"));
    assert_eq!(entry["after"], json!({ "items": [], "bought": 0 }));
    let report = done(&world, &format!("sale report {sale}")).await;
    assert_eq!((&report["sold"], &report["cancelled"]), (&json!(0), &json!(3)));
    world.verify().await;
}

/// A file with these lines.
fn file_of(lines: &[&str]) -> PathBuf {
    let file = std::env::temp_dir().join(format!("codes-{}", uuid::Uuid::now_v7().simple()));
    std::fs::write(&file, lines.join("\n")).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn the_purchases_of_a_file_are_taken_back_each_by_itself() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 1 --stock 9").await;
    let mut codes = Vec::new();
    for buyer in ["ann", "bob", "carl", "dan"] {
        codes.push(world.at(0).buys(&sale, buyer, "1").await);
    }
    let file =
        file_of(&[&codes[0], "", "nonsense", &codes[1], &format!(" {} \r", codes[0]), &codes[2]]);
    let arguments = format!("purchase cancel --workers 1 --from {}", file.display());

    let ran = run(&world, &arguments).await;

    assert_eq!(ran.code, Some(1), "{ran}");
    let rows = ran.documents();
    let lines: Vec<_> = rows.iter().map(|row| row["line"].as_i64().unwrap()).collect();
    assert_eq!(lines, [1, 3, 4, 5, 6], "{ran}");
    let buyers: Vec<_> = rows.iter().map(|row| row["buyer_id"].as_str()).collect();
    assert_eq!(buyers, [Some("ann"), None, Some("bob"), None, Some("carl")], "{ran}");
    for (at, reason) in [(1, "issued no such code"), (3, "it is already cancelled")] {
        assert!(rows[at]["error"].as_str().unwrap().contains(reason), "{ran}");
    }
    let summary = "3 of 5 purchases were taken back; 2 refused, 0 failed, 0 not tried";
    assert!(ran.complaint()[0].contains(summary), "{ran}");
    world.sells_exactly(&sale, 1).await;
    let rest = file_of(&[&codes[3]]);
    run(&world, &format!("purchase cancel --from {}", rest.display())).await.succeeded();
    world.sells_exactly(&sale, 0).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_interrupted_ends_what_has_begun_and_says_what_was_not_tried() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 1 --stock 20").await;
    let mut codes = Vec::new();
    for buyer in 0..20 {
        codes.push(world.at(0).buys(&sale, &format!("buyer-{buyer}"), "1").await);
    }
    let file = file_of(&codes.iter().map(String::as_str).collect::<Vec<_>>());
    let mut hold = world.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM sales FOR UPDATE").execute(&mut *hold).await.unwrap();
    let arguments = ["purchase", "cancel", "--workers", "1", "--from", file.to_str().unwrap()];
    let mut command = world.program.start(&arguments);
    waiting(world.pool(), 1).await;

    command.signal(Signal::SIGINT);
    hold.commit().await.unwrap();

    let code = command.exit().await;
    let (stdout, stderr) = (command.stdout.text(), command.stderr.text());
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stdout.lines().count(), 8, "{stdout}");
    let summary = "8 of 20 purchases were taken back; 0 refused, 0 failed, 12 not tried";
    assert!(stderr.contains(summary), "{stderr}");
    world.sells_exactly(&sale, 12).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_commands_at_the_same_time_one_cancels() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 1 --stock 5").await;
    let code = world.at(0).buys(&sale, "ann", "1").await;
    let mut hold = world.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM item_stock FOR UPDATE").execute(&mut *hold).await.unwrap();
    let cancel = format!("purchase cancel {code}");
    let release = async {
        waiting(world.pool(), 2).await;
        hold.commit().await.unwrap();
    };

    let (first, second, ()) = tokio::join!(run(&world, &cancel), run(&world, &cancel), release);

    let mut codes = [first.code, second.code];
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1)], "{first} {second}");
    world.sells_exactly(&sale, 0).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_killed_in_the_middle_changes_nothing_and_can_be_repeated() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 1 --stock 5").await;
    let code = world.at(0).buys(&sale, "ann", "1").await;
    // The command has locked the buyer and the item, and waits for the sale: nothing of it is written yet, or all of it is.
    let mut hold = world.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM sales FOR UPDATE").execute(&mut *hold).await.unwrap();
    let mut killed = world.program.start(&["purchase", "cancel", &code]);
    waiting(world.pool(), 1).await;

    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.exit().await, None);
    hold.commit().await.unwrap();

    world.at(0).buys(&sale, "ann", "1").await;
    world.sells_exactly(&sale, 2).await;
    world.verify().await;
    done(&world, &format!("purchase cancel {code}")).await;
    world.sells_exactly(&sale, 1).await;
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_return_and_sell_while_buyers_want_them_on_three_instances() {
    const PIECES: usize = 12;
    let world = World::of(3).await;
    let sale = world.create_sale(&format!("--items 2 --stock {PIECES} --buyer-limit 100")).await;
    let mut codes = Vec::new();
    for number in 0..PIECES {
        let client = world.at(number % 3);
        codes.push(buys_all(client, &sale, &format!("first-{number}"), &["1", "2"]).await);
    }
    // Each wants a piece of both items again and again, until none is left to return.
    let mut buyers = JoinSet::new();
    for number in 0..PIECES {
        let (client, sale) = (world.at(number % 3).clone(), sale.clone());
        let user = format!("second-{number}");
        buyers.spawn(async move {
            for item in ["1", "2"] {
                let buying = buys_when_returned(&client, &sale, &user, item);
                tokio::time::timeout(PATIENCE, buying).await.expect("no piece returns");
            }
        });
    }

    let world = &world;
    let returns = codes.iter().map(|code| async move {
        done(world, &format!("purchase cancel {code} --item 2")).await;
        done(world, &format!("purchase cancel {code}")).await;
    });
    futures_util::future::join_all(returns).await;
    buyers.join_all().await;

    world.sells_exactly(&sale, 2 * PIECES).await;
    for instance in 0..3 {
        for item in ["1", "2"] {
            world.at(instance).checkout(&sale, "late", item).await.is(409);
        }
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_poll_puts_the_pieces_on_sale_again() {
    let mut world = World::plan(2).private_redis().start().await;
    let sale = world.create_sale("--items 2").await;
    let code = world.at(0).buys(&sale, "ann", "1").await;
    for instance in 0..2 {
        world.at(instance).checkout(&sale, "bob", "1").await.refuses(409, "item_sold_out");
    }
    drop(world.redis_server.take());

    done(&world, &format!("purchase cancel {code}")).await;

    // It returns when the instances have polled.
    for instance in 0..2 {
        world.at(instance).checkout(&sale, "bob", "1").await.is(200);
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_explained_by_its_id_and_a_checkout_by_its_code() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 2").await;
    let bobs = world.at(0).collects(&sale, "bob", "1").await;
    world.at(0).buys(&sale, "ann", "1").await;
    let refused = world.at(1).checkout(&sale, "cat", "1").await;
    let request = refused.header("x-request-id").unwrap().to_owned();
    let path = format!("/purchase?code={bobs}");
    let sold_out = world.at(1).send(Method::POST, &path, &[("x-request-id", "bobs-try")]).await;
    sold_out.refuses(409, "items_already_sold");
    let routed = [("x-request-id", "routed"), ("api-version", "1")];
    let path = format!("/checkout?user_id=cat&item_id=17&sale_id={sale}");
    world.at(0).send(Method::POST, &path, &routed).await.refuses(404, "item_not_found");

    for (subject, reason) in [
        (request.as_str(), "no piece of item \"1\" was left."),
        ("routed", "the sale has no item \"17\"."),
        ("bobs-try", "0 of 1 lines sold; too few pieces of item \"1\" were left."),
    ] {
        until("the refusal is written", async || {
            run(&world, &format!("why {subject}")).await.code == Some(0)
        })
        .await;
        let told = done(&world, &format!("why {subject}")).await;
        assert!(told["why"].as_str().unwrap().ends_with(reason), "{told}");
    }
    let told = done(&world, &format!("why {bobs}")).await;
    let line = &told["attempts"][0]["lines"][0];
    assert_eq!((&line["item_id"], &line["outcome"]), (&json!("1"), &json!("sold_out")));
    assert_eq!((&line["remaining_then"], &line["remaining_now"]), (&json!(0), &json!(0)));
    let told = done(&world, &format!("why {request}")).await;
    assert_eq!(
        (&told["refusals"][0]["reason"], &told["refusals"][0]["buyer_id"]),
        (&json!("item_sold_out"), &json!("cat"))
    );
    is_refused(&world, "why never-sent", "nothing is on record").await;
    is_refused(&world, "why CHK-S-1-1150000000000000000", "issued no such code").await;
    let table = run(&world, &format!("why {bobs} --output table")).await.succeeded();
    assert!(table.stdout.contains("sold_out") && !table.stdout.starts_with('{'), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyers_story_is_told_page_by_page() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 3").await;
    let code = buys_all(world.at(0), &sale, "ann", &["1", "2"]).await;
    world.at(0).checkout(&sale, "ann", "1").await.refuses(409, "item_sold_out");
    until("the refusal is written", async || {
        let story = done(&world, "buyer show ann --refusals").await;
        story["data"].as_array().unwrap().len() == 1
    })
    .await;
    done(&world, &format!("purchase cancel {code} --item 1")).await;

    let (mut told, mut next) = (Vec::new(), String::new());
    loop {
        let page = done(&world, &format!("buyer show ann --limit 2{next}")).await;
        let entries = page["data"].as_array().unwrap();
        told.extend(entries.iter().map(|entry| entry["what"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!(" --cursor {cursor}");
    }

    assert_eq!(told, ["attempt", "line", "line", "purchase", "refusal", "cancellation"]);
    let stranger = done(&world, "buyer show nobody").await;
    assert_eq!(stranger, json!({ "data": [], "next_cursor": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_commands_exit_with_2() {
    let nowhere = Program::new()
        .variable("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .set("database.retries", "0");
    for arguments in [
        "purchase cancel CHK-S-1-1150000000000000000",
        "buyer show ann",
        "why r-1",
        "sale list",
        "sale create --items 1",
        "sale report S-1",
    ] {
        let ran = nowhere.run(&arguments.split(' ').collect::<Vec<_>>()).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments}: {ran}");
    }
}
