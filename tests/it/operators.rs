//! What operators do: each command changes what it says, on all instances, and leaves its row in the audit.

use serde_json::{Value, json};

use crate::harness::{World, commands::Ran};

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

/// The actions on record, newest first, without the creation of sales.
async fn actions(world: &World) -> Vec<String> {
    let listed = done(world, "audit list --limit 1000").await;
    let entries = listed["data"].as_array().unwrap().iter();
    let actions = entries.map(|entry| entry["action"].as_str().unwrap().to_owned());
    actions.filter(|action| action != "created").collect()
}

fn time(value: &Value) -> chrono::DateTime<chrono::Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// The servers of the tests have the clock of this machine.
fn this_moment() -> chrono::DateTime<chrono::Utc> {
    #[expect(clippy::disallowed_methods, reason = "an operator looks at a clock too")]
    chrono::Utc::now()
}

/// An argument for a moment so many minutes from now.
fn in_minutes(minutes: i64) -> String {
    let moment = this_moment() + chrono::Duration::minutes(minutes);
    moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restocked_item_is_on_sale_on_all_instances_when_the_command_returns() {
    let world = World::of(3).await;
    let sale = world.create_sale("--items 2 --buyer-limit 20").await;
    world.at(0).buys(&sale, "ann", "1").await;
    for instance in 0..3 {
        world.at(instance).checkout(&sale, "bob", "1").await.refuses(409, "item_sold_out");
    }

    let stock = done(&world, &format!("sale restock {sale} 1 --pieces 3")).await;

    let expected = json!({ "sale_id": sale, "id": "1", "stock": 4, "sold": 1, "remaining": 3 });
    assert_eq!(stock, expected);
    for instance in 0..3 {
        world.at(instance).buys(&sale, &format!("buyer-{instance}"), "1").await;
    }
    world.at(1).checkout(&sale, "bob", "1").await.refuses(409, "item_sold_out");
    let listed = done(&world, &format!("audit list --sale {sale} --limit 1")).await;
    let entry = &listed["data"][0];
    assert_eq!((&entry["action"], &entry["subject"]), (&json!("restocked"), &json!("item 1")));
    assert_eq!(entry["before"], json!({ "stock": 1, "sold": 1 }));
    assert_eq!(entry["after"], json!({ "stock": 4, "sold": 1 }));
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap();
    assert_eq!(entry["actor"], user.name);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_are_taken_down_to_what_is_sold_and_a_refused_restock_leaves_no_trace() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 2 --stock 5").await;
    world.at(0).buys(&sale, "ann", "1").await;

    let stock = done(&world, &format!("sale restock {sale} 1 --pieces -4")).await;

    assert_eq!((&stock["stock"], &stock["remaining"]), (&json!(1), &json!(0)));
    world.at(0).checkout(&sale, "bob", "1").await.refuses(409, "item_sold_out");
    is_refused(&world, &format!("sale restock {sale} 1 --pieces -1"), "fewer pieces than it has")
        .await;
    is_refused(&world, &format!("sale restock {sale} 3 --pieces 1"), "has no item \"3\"").await;
    is_refused(&world, &format!("sale restock {sale} 2 --pieces 100000000"), "more than").await;
    is_refused(&world, "sale restock S-ZZ 1 --pieces 1", "there is no sale S-ZZ").await;
    assert_eq!(actions(&world).await, ["restocked"]);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_sale_sells_nowhere_when_the_command_returns() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 9").await;
    world.at(0).buys(&sale, "ann", "1").await;

    let ended = done(&world, &format!("sale end {sale}")).await;

    assert_eq!((&ended["state"], &ended["changed"]), (&json!("ended"), &json!(true)));
    for instance in 0..2 {
        world.at(instance).checkout(&sale, "bob", "2").await.refuses(410, "sale_ended");
    }
    let again = done(&world, &format!("sale end {sale}")).await;
    assert_eq!((&again["changed"], &again["ends_at"]), (&json!(false), &ended["ends_at"]));
    is_refused(&world, &format!("sale restock {sale} 1 --pieces 1"), "has ended").await;
    is_refused(&world, &format!("sale cancel {sale}"), "has ended already").await;
    assert_eq!(actions(&world).await, ["ended"]);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_ended_in_the_rush_sells_nothing_after_its_end() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 300").await;
    let storm = crate::harness::Storm::over(&world.clients(), &sale, 300);
    storm.has_sold(20).await;

    let ended = done(&world, &format!("sale end {sale}")).await;

    let last: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT max(purchased_at) FROM purchases")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert!(last < time(&ended["ends_at"]), "{last} and {ended}");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_is_changed_before_it_starts_and_its_end_also_later() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 9 --starts-in 1h --name Socks").await;
    let (start, end) = (in_minutes(30), in_minutes(120));
    let change = format!(
        "sale change {sale} --name Shoes --starts-at {start} --ends-at {end} --buyer-limit 2"
    );

    let changed = done(&world, &change).await;

    assert_eq!((&changed["name"], &changed["buyer_limit"]), (&json!("Shoes"), &json!(2)));
    assert_eq!(changed["starts_at"], start);
    for instance in 0..2 {
        let read = world.at(instance).get(&format!("/sales/{sale}")).await.is(200);
        let fields = ["name", "starts_at", "ends_at", "buyer_limit"];
        for field in fields {
            assert_eq!(read.at(&format!("/{field}")), changed[field]);
        }
    }
    let open = world.create_sale("--items 9 --duration 30m").await;
    world.at(0).buys(&open, "ann", "1").await;
    let later = done(&world, &format!("sale change {open} --ends-at {end}")).await;
    assert_eq!((&later["ends_at"], &later["state"]), (&json!(end), &json!("open")));
    for (options, reason) in [
        (format!("--starts-at {start}"), "the start has passed"),
        ("--buyer-limit 3".to_owned(), "buyer limit can only be changed"),
        (
            format!("--ends-at {}", in_minutes(-1)),
            "end can only be moved to a moment in the future",
        ),
    ] {
        is_refused(&world, &format!("sale change {open} {options}"), reason).await;
    }
    let empty = run(&world, &format!("sale change {open}")).await;
    assert_eq!(empty.code, Some(2), "{empty}");
    assert_eq!(actions(&world).await, ["changed", "changed"]);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_sale_opens_again_with_a_later_end() {
    let world = World::of(2).await;
    let sale = world.create_sale("--items 9").await;
    done(&world, &format!("sale end {sale}")).await;

    let reopened = done(&world, &format!("sale change {sale} --ends-at {}", in_minutes(9))).await;

    assert_eq!(reopened["state"], "open");
    for instance in 0..2 {
        world.at(instance).buys(&sale, "ann", &(instance + 1).to_string()).await;
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_sale_never_opens_and_keeps_its_place() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --starts-in 1h").await;
    let open = world.create_sale("--items 9").await;

    let cancelled = done(&world, &format!("sale cancel {sale}")).await;

    let length = time(&cancelled["ends_at"]) - time(&cancelled["starts_at"]);
    assert_eq!((&cancelled["state"], length.num_microseconds()), (&json!("cancelled"), Some(1)));
    assert_eq!(done(&world, &format!("sale cancel {sale}")).await["changed"], false);
    let later = format!("sale change {sale} --ends-at {}", in_minutes(90));
    is_refused(&world, &later, "was cancelled").await;
    is_refused(&world, &format!("sale end {sale}"), "was cancelled").await;
    is_refused(&world, &format!("sale cancel {open}"), "end it instead").await;
    world.at(0).get(&format!("/sales/{sale}")).await.is(200);
    assert_eq!(actions(&world).await, ["cancelled"]);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_read_page_by_page_and_from_a_time_on() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 1").await;
    for pieces in 1..=3 {
        done(&world, &format!("sale restock {sale} 1 --pieces {pieces}")).await;
    }

    let (mut stocks, mut next, mut since) = (Vec::new(), String::new(), Value::Null);
    loop {
        let page = done(&world, &format!("audit list --limit 2{next}")).await;
        for entry in page["data"].as_array().unwrap() {
            stocks.push(entry["after"]["stock"].clone());
            if entry["after"]["stock"] == 4 {
                since = entry["at"].clone();
            }
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!(" --cursor {cursor}");
    }

    assert_eq!(stocks, [7, 4, 2, 1]);
    let recent = done(&world, &format!("audit list --since {}", since.as_str().unwrap())).await;
    assert_eq!(recent["data"].as_array().unwrap().len(), 2, "{recent}");
    let table = run(&world, "audit list --output table").await.succeeded();
    assert!(table.stdout.contains("restocked") && !table.stdout.starts_with('{'), "{table}");
}

/// Writes a file for an import, and runs it. The file is removed with the folder.
async fn import(world: &World, (name, content): (&str, &str), options: &str) -> Ran {
    let folder = std::env::temp_dir().join(format!("import-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, content).unwrap();
    let ran = run(world, &format!("sale import {} {options}", file.display())).await;
    std::fs::remove_dir_all(&folder).unwrap();
    ran
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

/// An argument for a moment that has just passed.
fn just_now() -> String {
    let moment = this_moment() - chrono::Duration::seconds(1);
    moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_items_sell_under_their_own_ids_on_all_instances() {
    let world = World::of(2).await;
    let csv = "stock,id,name,image_url\r\n3,a/b,\"Socks, \"\"red\"\"\",https://x/1\r\n1,50 % \u{fc},Shoes,https://x/2\\n\r\n";
    let options = format!("--starts-at {} --name Import --buyer-limit 5", just_now());

    let imported = report(&import(&world, ("items.csv", csv), &options).await.succeeded());

    let sale = imported["sale_id"].as_str().unwrap().to_owned();
    assert_eq!(imported, json!({ "sale_id": sale, "imported": 2, "rejected": [] }));
    for (instance, item) in [(0, "a/b"), (1, "50 % \u{fc}"), (1, "a/b")] {
        world.at(instance).buys(&sale, "ann", item).await;
    }
    world.at(0).checkout(&sale, "bob", "50 % \u{fc}").await.refuses(409, "item_sold_out");
    let items = world.at(0).get(&format!("/sales/{sale}/items")).await.is(200);
    assert_eq!(items.at("/data/0/name"), "Socks, \"red\"");
    assert_eq!(items.at("/data/1/image_url"), "https://x/2\\n");
    let entry = done(&world, &format!("audit list --sale {sale}")).await["data"][0].take();
    assert_eq!((&entry["action"], &entry["after"]), (&json!("created"), &json!({ "items": 2 })));
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_means_that_nothing_is_imported_and_partial_takes_the_rest() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 2 --starts-in 1h").await;
    let csv = "id,name,image_url,stock\na,n,u,1\nb,n,u,0\nc,n,u\na,n,u,1\n1,n,u,1\n,n,u,2\nd,n,u,2";
    let rejected = json!([
        { "line": 3, "field": "stock", "why": "must be a whole number from 1 to 100000000" },
        { "line": 4, "field": null, "why": "must have four columns" },
        { "line": 5, "field": "id", "why": "is the id of another item" },
        { "line": 6, "field": "id", "why": "is the id of another item" },
        { "line": 7, "field": "id", "why": "must be 1 to 64 characters without control characters" },
    ]);

    let whole = import(&world, ("items.csv", csv), &format!("--sale {sale}")).await;
    let before = world.sale(&sale).await;
    let partial = import(&world, ("items.csv", csv), &format!("--sale {sale} --partial")).await;

    assert_eq!(whole.code, Some(1), "{whole}");
    assert_eq!(report(&whole), json!({ "sale_id": null, "imported": 0, "rejected": rejected }));
    assert_eq!((&before["items"], &before["remaining"]), (&json!(2), &json!(2)));
    let partial = report(&partial.succeeded());
    assert_eq!(partial, json!({ "sale_id": sale, "imported": 2, "rejected": rejected }));
    let after = world.sale(&sale).await;
    assert_eq!((&after["items"], &after["remaining"]), (&json!(4), &json!(5)));
    assert_eq!(actions(&world).await, ["imported"]);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_be_is_refused_whole() {
    let world = World::of(1).await;
    let open = world.create_sale("--items 2").await;
    let sale = world.create_sale("--items 2 --starts-in 1h").await;
    let good = "id,name,image_url,stock\na,n,u,1\n";
    for ((name, content), sale, code, reason) in [
        (("items.csv", good), open.as_str(), 1, "its items are fixed"),
        (("items.csv", good), "S-ZZ", 1, "there is no sale S-ZZ"),
        (("items.csv", "id,name,image_url,stock\n"), &sale, 1, "there are no items"),
        (("items.csv", "id,name,stock\na,n,1\n"), &sale, 1, "must have the columns"),
        (
            ("items.csv", "id,name,image_url,stock\na,n,u,1\nb,\"n,u,1\n"),
            &sale,
            1,
            "inside of quotes",
        ),
        (("items.txt", good), &sale, 2, "give --format"),
    ] {
        let ran = import(&world, (name, content), &format!("--sale {sale}")).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran}");
        assert!(ran.stderr.contains(reason), "{reason}: {ran}");
    }
    assert_eq!(actions(&world).await, Vec::<String>::new());
    assert_eq!(world.sale(&sale).await["items"], 2);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_are_imported_from_standard_input() {
    let world = World::of(1).await;
    let line = |no| format!(r#"{{"id":"i{no}","name":"n","image_url":"u","stock":2}}"#);
    let lines: Vec<String> = (0..12_000).map(line).collect();
    let lines = lines.join("\n");
    let start = just_now();
    let arguments = ["sale", "import", "-", "--format", "jsonl", "--starts-at", &start];
    let mut command = world.program.command(&arguments);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();

    let output = tokio::task::spawn_blocking(move || {
        std::io::Write::write_all(&mut input, lines.as_bytes()).unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    });

    let report: Value = serde_json::from_slice(&output.await.unwrap().stdout).unwrap();
    assert_eq!(report["imported"], 12_000);
    world.at(0).buys(report["sale_id"].as_str().unwrap(), "ann", "i11999").await;
    world.verify().await;
}
