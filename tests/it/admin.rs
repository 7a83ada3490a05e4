//! What operators do over HTTP: each request changes what it says, on all instances, and leaves its row in the audit.

use std::fmt::Write;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::metrics::Metrics;
use crate::harness::{Answer, Operator, Wire, World, eventually};

const CSV: &str = "text/csv; charset=utf-8";
const JSON_LINES: &str = "application/x-ndjson";

async fn import(operator: &Operator, path: &str, media_type: &str, body: &str) -> Answer {
    let headers = [("content-type", media_type)];
    operator.send(Method::POST, path, &headers, body.to_owned()).await
}

/// A sale that starts in an hour.
async fn upcoming(operator: &Operator) -> String {
    let body = json!({ "items": 1, "starts_in": "1h", "name": "Socks" });
    let created = operator.ask(Method::POST, "/admin/sales", &body).await.is(201);
    created.at("/sale_id").as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_is_created_changed_and_ended_on_all_instances() {
    let (world, ports) = World::with_admin(2).await;
    let operators = world.operators(&ports).await;
    let body =
        json!({ "items": 3, "stock": 2, "buyer_limit": 4, "name": "Socks", "duration": "1h" });

    let created = operators[0].ask(Method::POST, "/admin/sales", &body).await.is(201);

    let sale = created.at("/sale_id").as_str().unwrap().to_owned();
    assert_eq!((created.at("/items"), created.at("/stock")), (json!(3), json!(2)));
    for instance in 0..2 {
        world.at(instance).buys(&sale, &format!("buyer-{instance}"), "1").await;
    }
    let path = format!("/admin/sales/{sale}");
    let changed = operators[1].ask(Method::PATCH, &path, &json!({ "name": "Shoes" })).await.is(200);
    assert_eq!((changed.at("/name"), changed.at("/state")), (json!("Shoes"), json!("open")));
    let limit = operators[1].ask(Method::PATCH, &path, &json!({ "buyer_limit": 9 })).await;
    let limit = limit.problem(409, "change_refused");
    assert!(limit.at("/detail").as_str().unwrap().contains("buyer limit"), "{limit:?}");
    operators[0].ask(Method::PATCH, &path, &json!({})).await.problem(400, "validation_failed");
    let ended = operators[0].ask(Method::POST, &format!("{path}/end"), &Value::Null).await.is(200);
    assert_eq!((ended.at("/state"), ended.at("/changed")), (json!("ended"), json!(true)));
    for instance in 0..2 {
        world.at(instance).checkout(&sale, "bob", "2").await.refuses(410, "sale_ended");
    }
    let again = operators[1].ask(Method::POST, &format!("{path}/end"), &Value::Null).await.is(200);
    assert_eq!(again.at("/changed"), false);
    operators[0]
        .ask(Method::POST, "/admin/sales/S-ZZ/end", &Value::Null)
        .await
        .problem(404, "sale_not_found");
    let listed = operators[1].get("/admin/sales?limit=1").await.is(200);
    assert_eq!((listed.at("/data/0/sale_id"), listed.at("/data/0/sold")), (json!(sale), json!(2)));
    let report = operators[1].get(&format!("{path}/report")).await.is(200);
    assert_eq!(report.at("/sold"), 2);
    let picture = operators[1].get(&format!("{path}/report.svg")).await.is(200);
    assert_eq!(picture.header("content-type"), Some("image/svg+xml"));
    assert!(picture.body.contains("<svg"));
    let actions: Vec<_> =
        operators[0].audit().await.into_iter().map(|[actor, action, _]| (actor, action)).collect();
    let by_eve = |action: &str| ("eve".to_owned(), action.to_owned());
    assert_eq!(actions[..3], [by_eve("ended"), by_eve("changed"), by_eve("created")]);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_sale_never_opens() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];
    let sale = upcoming(operator).await;

    let path = format!("/admin/sales/{sale}/cancel");
    let cancelled = operator.ask(Method::POST, &path, &Value::Null).await.is(200);

    assert_eq!(cancelled.at("/state"), "cancelled");
    let end = format!("/admin/sales/{sale}/end");
    operator.ask(Method::POST, &end, &Value::Null).await.problem(409, "change_refused");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_new_sale_is_said_at_once() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];
    let cases = [
        (json!({}), vec!["#/items"]),
        (
            json!({ "items": 0, "stock": "2", "buyer_limit": 1001 }),
            vec!["#/buyer_limit", "#/items", "#/stock"],
        ),
        (json!({ "items": 1, "name": "" }), vec!["#/name"]),
        (json!({ "items": 1, "starts_at": "2027-01-31T15:00:00" }), vec!["#/starts_at"]),
        (
            json!({ "items": 1, "starts_at": "2027-01-31T15:00:00Z", "starts_in": "1h" }),
            vec!["#/starts_in"],
        ),
        (json!({ "items": 1, "duration": "0s" }), vec!["#/ends_at"]),
        (json!({ "items": 1, "ends_at": "2020-01-31T15:00:00Z" }), vec!["#/ends_at"]),
        (json!({ "items": 1, "colour": "red" }), vec!["#"]),
    ];

    for (body, pointers) in cases {
        let refused = operator.ask(Method::POST, "/admin/sales", &body).await;
        let refused = refused.problem(400, "validation_failed");
        let errors = refused.at("/errors");
        let named =
            errors.as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap());
        assert_eq!(named.collect::<Vec<_>>(), pointers, "{body}");
    }
    world.program.run(&["verify"]).await.succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restocked_item_sells_under_its_own_id_on_all_instances() {
    let (world, ports) = World::with_admin(2).await;
    let operators = world.operators(&ports).await;
    let csv = "id,name,image_url,stock\na/b,n,u,1\n50 % \u{fc},n,u,1\n";
    let folder = std::env::temp_dir().join(format!("admin-{}.csv", uuid::Uuid::now_v7().simple()));
    std::fs::write(&folder, csv).unwrap();
    let starts_at = "2026-01-01T00:00:00Z";
    let arguments = [
        "sale",
        "import",
        folder.to_str().unwrap(),
        "--starts-at",
        starts_at,
        "--duration",
        "3650days",
    ];
    let imported = world.printed(&arguments).await;
    std::fs::remove_file(&folder).unwrap();
    let sale = imported["sale_id"].as_str().unwrap();

    for (path, item) in [("a%2Fb", "a/b"), ("50%20%25%20%C3%BC", "50 % \u{fc}")] {
        world.at(0).buys(sale, "ann", item).await;
        world.at(1).checkout(sale, "bob", item).await.refuses(409, "item_sold_out");
        let restock = format!("/admin/sales/{sale}/items/{path}/restock");
        let stock = operators[0].ask(Method::POST, &restock, &json!({ "pieces": 5 })).await.is(200);
        let expected =
            json!({ "sale_id": sale, "id": item, "stock": 6, "sold": 1, "remaining": 5 });
        assert_eq!(stock.json(), expected);
        world.at(1).buys(sale, "bob", item).await;
    }
    let restock = |item: &str| format!("/admin/sales/{sale}/items/{item}/restock");
    for (path, body, status, code) in [
        (restock("nothing"), json!({ "pieces": 1 }), 404, "item_not_found"),
        (restock("a%2Fb"), json!({ "pieces": -9 }), 409, "change_refused"),
        (restock("a%2Fb"), json!({ "pieces": 0 }), 400, "validation_failed"),
        (restock("a%2Fb"), json!({}), 400, "validation_failed"),
        (restock("a%2"), json!({ "pieces": 1 }), 400, "validation_failed"),
        (
            "/admin/sales/S-ZZ/items/1/restock".to_owned(),
            json!({ "pieces": 1 }),
            404,
            "sale_not_found",
        ),
    ] {
        operators[1].ask(Method::POST, &path, &body).await.problem(status, code);
    }
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_imported_from_csv_and_json_lines() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];
    let sale = upcoming(operator).await;
    let path = format!("/admin/sales/{sale}/items");
    let csv = "\u{feff}stock,id,name,image_url\r\n3,a/b,\"Socks, \"\"red\"\"\",https://x/1\r\n1,50 % \u{fc},Shoes,https://x/2\r\n";
    let lines = "{\"id\":\"c\",\"name\":\"n\",\"image_url\":\"u\",\"stock\":2}\n\n{\"id\":\"d\",\"name\":\"n\",\"image_url\":\"u\",\"stock\":1}";

    let first = import(operator, &path, CSV, csv).await.is(200);
    let second = import(operator, &path, JSON_LINES, lines).await.is(200);

    assert_eq!(first.json(), json!({ "sale_id": sale, "imported": 2, "rejected": [] }));
    assert_eq!(second.at("/imported"), 2);
    let items = world.at(0).get(&format!("/sales/{sale}/items")).await.is(200);
    let ids: Vec<_> =
        items.at("/data").as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, ["1", "a/b", "50 % \u{fc}", "c", "d"]);
    import(operator, &path, "application/json", csv).await.problem(415, "unsupported_media_type");
    import(operator, "/admin/sales/S-ZZ/items", CSV, csv).await.problem(404, "sale_not_found");
    let open = world.create_sale("--items 1").await;
    let open = format!("/admin/sales/{open}/items");
    import(operator, &open, CSV, csv).await.problem(409, "change_refused");
    import(operator, &format!("{path}?partial=maybe"), CSV, csv)
        .await
        .problem(400, "validation_failed");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_means_that_nothing_is_imported_and_partial_takes_the_rest() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];
    let sale = upcoming(operator).await;
    let path = format!("/admin/sales/{sale}/items");
    let csv = "id,name,image_url,stock\na,n,u,1\nb,n,u,0\nc,n,u\na,n,u,1\nd,n,u,2";
    let rejected = json!([
        { "line": 3, "field": "stock", "why": "must be a whole number from 1 to 100000000" },
        { "line": 4, "field": null, "why": "must have four columns" },
        { "line": 5, "field": "id", "why": "is the id of another item" },
    ]);

    let refused = import(operator, &path, CSV, csv).await.problem(422, "import_rejected");
    let partial = import(operator, &format!("{path}?partial=true"), CSV, csv).await.is(200);

    assert_eq!((refused.at("/imported"), refused.at("/sale_id")), (json!(0), json!(sale)));
    assert_eq!(refused.at("/rejected"), rejected);
    assert_eq!(partial.json(), json!({ "sale_id": sale, "imported": 2, "rejected": rejected }));
    for (body, why) in [
        ("", "is empty"),
        ("id,name\n1,2\n", "must have the columns"),
        ("id,name,image_url,stock\n", "no items"),
    ] {
        let refused = import(operator, &path, CSV, body).await.problem(422, "import_rejected");
        assert!(refused.at("/detail").as_str().unwrap().contains(why), "{refused:?}");
        assert_eq!(refused.at("/imported"), 0);
    }
    let counted = world.at(0).get(&format!("/sales/{sale}")).await.is(200).at("/items");
    assert_eq!(counted, 3);
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_in_the_middle_imports_nothing() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];
    let sale = upcoming(operator).await;
    let path = format!("/admin/sales/{sale}/items");
    let mut rows = String::new();
    for number in 0..20_000 {
        let _ = writeln!(rows, "x{number},n,u,1");
    }
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: shop\r\nX-Api-Key: {}\r\nContent-Type: text/csv\r\nContent-Length: 9999999\r\n\r\n",
        operator.key
    );

    let mut wire = Wire::connect(ports[0].address).await.unwrap();
    assert!(wire.send(head.as_bytes()).await);
    assert!(wire.send(format!("id,name,image_url,stock\n{rows}").as_bytes()).await);
    eventually("the import has begun", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND state = 'idle in transaction'";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(world.pool()).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    drop(wire);

    // It waits for the sale, which the import before has locked.
    let csv = "id,name,image_url,stock\nx1,n,u,1\n";
    let next = import(operator, &path, CSV, csv).await.is(200);
    assert_eq!((next.at("/imported"), next.at("/rejected")), (json!(1), json!([])));
    let counted = world.at(0).get(&format!("/sales/{sale}")).await.is(200).at("/items");
    assert_eq!(counted, 2);
    let actions: Vec<_> = operator.audit().await.into_iter().map(|[_, action, _]| action).collect();
    assert_eq!(actions.iter().filter(|action| *action == "imported").count(), 1, "{actions:?}");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_taken_back_and_its_buyers_story_told() {
    let (world, ports) = World::with_admin(2).await;
    let operators = world.operators(&ports).await;
    let sale = world.create_sale("--items 2 --buyer-limit 2").await;
    let code = world.at(0).buys(&sale, "ann", "1").await;
    let refused = world.at(1).checkout(&sale, "bob", "1").await;
    let request = refused.header("x-request-id").unwrap().to_owned();
    refused.refuses(409, "item_sold_out");
    let cancel = format!("/admin/purchases/{code}/cancel");

    let cancelled = operators[0].keyed(&cancel, "one", &json!({ "items": ["1"] })).await.is(200);
    let repeat = operators[1].keyed(&cancel, "one", &json!({ "items": ["1"] })).await.is(200);

    assert_eq!(cancelled.at("/items"), json!([{ "id": "1", "quantity": 1 }]));
    assert_eq!((cancelled.at("/buyer_id"), cancelled.at("/bought")), (json!("ann"), json!(0)));
    assert_eq!(repeat.content(), cancelled.content());
    let again = operators[1].ask(Method::POST, &cancel, &Value::Null).await;
    again.problem(409, "change_refused");
    let forged = format!("/admin/purchases/{}0/cancel", &code[..code.len() - 1]);
    let status = operators[1].ask(Method::POST, &forged, &Value::Null).await.status;
    assert!([404, 409].contains(&status), "{status}");
    world.at(1).buys(&sale, "bob", "1").await;
    let story = operators[1].get("/admin/buyers/ann").await.is(200).at("/data");
    let story: Vec<_> = story.as_array().unwrap().iter().map(|one| one["what"].clone()).collect();
    assert_eq!(story, ["attempt", "line", "purchase", "cancellation"]);
    let why = eventually("the refusal is on record", async || {
        let path = format!("/admin/refusals?request_id={request}");
        let why = operators[0].get(&path).await.is(200);
        (!why.at("/why").is_null()).then_some(why)
    })
    .await;
    assert_eq!(why.at("/data/0/reason"), "item_sold_out");
    let of_bob = operators[0].get("/admin/refusals?buyer_id=bob").await.is(200);
    assert_eq!(of_bob.at("/data/0/request_id"), request);
    let of_code = operators[0].get(&format!("/admin/refusals?code={code}")).await.is(200);
    assert_eq!(of_code.at("/attempts/0/buyer_id"), "ann");
    operators[0].get("/admin/refusals").await.problem(400, "validation_failed");
    let two = format!("/admin/refusals?code={code}&buyer_id=bob");
    operators[0].get(&two).await.problem(400, "validation_failed");
    operators[0].get("/admin/refusals?code=CHK-1").await.problem(404, "code_not_found");
    world.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_read_and_changed() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];

    let job = operator
        .ask(Method::POST, "/admin/jobs", &json!({ "type": "noop", "in": "1h", "key": "once" }))
        .await
        .is(201);
    let again = operator
        .ask(Method::POST, "/admin/jobs", &json!({ "type": "noop", "key": "once" }))
        .await
        .is(200);

    let id = job.at("/id");
    assert_eq!(
        (job.at("/state"), job.at("/is_new"), again.at("/is_new")),
        (json!("scheduled"), json!(true), json!(false))
    );
    assert_eq!(again.at("/id"), id);
    let path = format!("/admin/jobs/{id}");
    assert_eq!(
        operator
            .ask(Method::POST, &format!("{path}/retry"), &Value::Null)
            .await
            .is(200)
            .at("/state"),
        "waiting"
    );
    assert_eq!(operator.get(&path).await.is(200).at("/id"), id);
    assert_eq!(
        operator.get("/admin/jobs?state=waiting&type=noop").await.is(200).at("/data/0/id"),
        id
    );
    assert_eq!(
        operator.get("/admin/jobs?state=dead").await.is(200).json(),
        json!({ "data": [], "next_cursor": null })
    );
    let dead =
        operator.ask(Method::POST, "/admin/jobs/retry", &json!({ "type": "noop" })).await.is(200);
    assert_eq!(dead.json(), json!({ "retried": 0, "left": 0 }));
    operator.ask(Method::POST, &format!("{path}/discard"), &Value::Null).await.is(200);
    operator.get(&path).await.problem(404, "job_not_found");
    operator.get("/admin/jobs?state=lost").await.problem(400, "validation_failed");
    let unknown = operator.ask(Method::POST, "/admin/jobs", &json!({ "type": "nothing" })).await;
    assert!(unknown.problem(400, "validation_failed").body.contains("there are: "));

    let own = operator.audit().await.into_iter().filter(|[actor, ..]| actor == "eve");
    let actions: Vec<_> = own.map(|[_, action, _]| action).collect();
    assert_eq!(actions, ["job_discarded", "job_retried", "job_enqueued"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_read_and_changed() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];

    let new = json!({ "name": "tens", "cron": "*/10 * * * * *", "type": "noop", "time_zone": "Europe/Berlin" });
    operator.ask(Method::POST, "/admin/schedules", &new).await.is(201);
    operator.ask(Method::POST, "/admin/schedules", &new).await.problem(409, "change_refused");
    let bad = json!({ "name": "bad", "cron": "whenever", "type": "noop" });
    operator.ask(Method::POST, "/admin/schedules", &bad).await.problem(400, "validation_failed");
    let act = async |verb: &str| {
        operator
            .ask(Method::POST, &format!("/admin/schedules/tens/{verb}"), &Value::Null)
            .await
            .is(200)
    };
    assert_eq!(act("pause").await.at("/paused"), true);
    act("pause").await;
    assert_eq!(act("resume").await.at("/paused"), false);
    assert_eq!(act("run").await.at("/schedule"), "tens");
    operator.ask(Method::DELETE, "/admin/schedules/tens", &Value::Null).await.is(200);
    operator
        .ask(Method::DELETE, "/admin/schedules/tens", &Value::Null)
        .await
        .problem(404, "schedule_not_found");
    let listed = operator.get("/admin/schedules").await.is(200);
    assert!(listed.at("/data/0/name").is_string() && !listed.body.contains("\"tens\""));
    let own = operator.audit().await.into_iter().filter(|[actor, ..]| actor == "eve");
    let actions: Vec<_> = own.map(|[_, action, _]| action).collect();
    let expected = [
        "schedule_removed",
        "schedule_ran",
        "schedule_resumed",
        "schedule_paused",
        "schedule_added",
    ];
    assert_eq!(actions, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_read_and_changed() {
    let plan = World::plan(0).set("webhooks.allow_private", "true");
    let (world, ports) = World::planned_with_admin(plan, 1).await;
    let operator = &world.operators(&ports).await[0];
    let new = json!({ "url": "http://127.0.0.1:1/hook", "events": ["purchase.settled"] });

    let added = operator.ask(Method::POST, "/admin/webhooks", &new).await.is(201);

    assert!(added.at("/secret").as_str().unwrap().starts_with("whsec_"));
    let path = format!("/admin/webhooks/{}", added.at("/id").as_str().unwrap());
    let act = async |verb: &str| {
        operator.ask(Method::POST, &format!("{path}/{verb}"), &Value::Null).await.is(200)
    };
    assert_eq!(act("pause").await.at("/state"), "paused");
    assert_eq!(act("resume").await.at("/state"), "active");
    let rotated = act("rotate-secret").await;
    assert_ne!(rotated.at("/secret"), added.at("/secret"));
    let tested = act("test").await;
    assert!(tested.at("/error").is_string() && tested.at("/status").is_null(), "{tested:?}");
    let since = json!({ "since": "2026-01-01T00:00:00Z" });
    let replayed = operator.ask(Method::POST, &format!("{path}/replay"), &since).await.is(200);
    assert_eq!(replayed.at("/put_back"), 0);
    let shown = operator.get(&path).await.is(200);
    assert_eq!(shown.at("/dead_letters"), json!([]));
    assert!(!shown.body.contains("whsec_"));
    assert_eq!(
        operator.get("/admin/webhooks").await.is(200).at("/data").as_array().unwrap().len(),
        1
    );
    operator.ask(Method::DELETE, &path, &Value::Null).await.is(200);
    operator.get(&path).await.problem(404, "webhook_not_found");
    let bad = json!({ "url": "ftp://shop", "events": ["everything"] });
    operator.ask(Method::POST, "/admin/webhooks", &bad).await.problem(400, "validation_failed");
    let own = operator.audit().await.into_iter().filter(|[actor, ..]| actor == "eve");
    let actions: Vec<_> = own.map(|[_, action, _]| action).collect();
    let expected = [
        "webhook_removed",
        "webhook_replayed",
        "webhook_secret_rotated",
        "webhook_resumed",
        "webhook_paused",
        "webhook_added",
    ];
    assert_eq!(actions, expected);
    let metrics = Metrics::parse(&world.instances[0].monitor.get("/metrics").await.is(200).body);
    let counted = |action: &str| {
        metrics.sum("flash_sale_admin_actions_total", &[&format!("action=\"{action}\"")])
    };
    assert_eq!(
        (counted("webhook_paused"), counted("webhook_tested"), counted("created")),
        (1.0, 1.0, 0.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_commands_are_on_record_under_the_systems_user() {
    let world = World::plan(0).set("webhooks.allow_private", "true").start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let job = world.enqueue("noop", &["--in", "1h"]).await;
    world.prints(&format!("job retry {job}")).await;
    world.prints(&format!("job discard {job}")).await;
    world.printed(&["schedule", "add", "tens", "--cron", "*/10 * * * * *", "--type", "noop"]).await;
    for verb in ["pause", "resume", "run", "remove"] {
        world.prints(&format!("schedule {verb} tens")).await;
    }
    let webhook = world.prints("webhook add http://127.0.0.1:1/hook").await;
    let webhook = webhook["id"].as_str().unwrap();
    for verb in ["pause", "resume", "rotate-secret", "remove"] {
        world.prints(&format!("webhook {verb} {webhook}")).await;
    }
    let (key, _) = world.create_key("ci", "--scopes read").await;
    world.prints(&format!("key revoke {key}")).await;

    let listed = world.prints("audit list").await;

    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap();
    let entries = listed["data"].as_array().unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let expected = [
        "key_revoked",
        "key_created",
        "webhook_removed",
        "webhook_secret_rotated",
        "webhook_resumed",
        "webhook_paused",
        "webhook_added",
        "schedule_removed",
        "schedule_ran",
        "schedule_resumed",
        "schedule_paused",
        "schedule_added",
        "job_discarded",
        "job_retried",
        "job_enqueued",
    ];
    assert_eq!(actions, expected);
    assert!(entries.iter().all(|entry| entry["actor"] == user.name && entry["sale_id"].is_null()));
    assert_eq!(entries[0]["subject"], key);
    assert_eq!(entries[0]["before"], json!({ "name": "ci", "revoked_at": null }));
    let page = world.prints("audit list --limit 2").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = world.prints(&format!("audit list --limit 1 --cursor {cursor}")).await;
    assert_eq!(rest["data"][0], entries[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_runs_is_finished_before_the_stop() {
    let (mut world, ports) = World::with_admin(1).await;
    let operator = world.operators(&ports).await.remove(0);
    let sale = upcoming(&operator).await;
    let mut locked = world.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM sales FOR UPDATE").execute(&mut *locked).await.unwrap();
    let path = format!("/admin/sales/{sale}");
    let mut changing = tokio::task::JoinSet::new();
    changing.spawn(
        async move { operator.ask(Method::PATCH, &path, &json!({ "name": "Shoes" })).await },
    );
    eventually("the change waits for the sale", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(world.pool()).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;

    world.instances[0].process.signal(nix::sys::signal::Signal::SIGTERM);
    world.instances[0].readiness_is(503).await;
    locked.commit().await.unwrap();

    assert_eq!(changing.join_next().await.unwrap().unwrap().is(200).at("/name"), "Shoes");
    assert_eq!(world.instances[0].process.exit().await, Some(0));
    world.instances.clear();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_operators_says_nothing_without_a_key_and_loads_its_own_files_alone() {
    let (world, ports) = World::with_admin(1).await;
    world.create_sale("--items 1 --name Socks").await;

    let page = ports[0].get("/admin/").await.is(200);

    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!page.body.contains("Socks") && !page.body.contains("<script>"), "{}", page.body);
    assert!(!page.body.contains(" style=") && !page.body.contains(" onclick="), "{}", page.body);
    let links = page
        .body
        .split(['"'])
        .filter(|text| [".css", ".js", ".svg"].iter().any(|ending| text.ends_with(ending)));
    let links: Vec<_> = links.collect();
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        let path = link.strip_prefix("..").map_or_else(|| format!("/admin/{link}"), str::to_owned);
        ports[0].get(&path).await.is(200);
    }
    let script = ports[0].get("/admin/page.js").await.is(200);
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(!script.body.contains("innerHTML") && !script.body.contains("localStorage"));
}
