//! Who gets past the port for operators: keys with a scope, until they end or are revoked, on all instances.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Operator, World, eventually, until};

const CHALLENGE: &str = "ApiKey realm=\"flash-sale\", header=\"X-Api-Key\"";

/// Fails the test unless this key is refused, for a read and for a change.
async fn is_refused(port: &Client, headers: &[(&str, &str)]) {
    for (method, path) in [(Method::GET, "/admin/keys"), (Method::POST, "/admin/sales")] {
        let answer = port.send(method, path, headers).await.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some(CHALLENGE));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_below_admin_is_answered() {
    let (world, ports) = World::with_admin(1).await;
    let (_, key) = world.create_key("ann", "--scopes read").await;
    let document = Operator::new(&ports[0], &key).get("/admin/openapi.json").await.is(200).json();

    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = ports[0].send(method, &path.replace(['{', '}'], ""), &[]).await;
            answer.problem(401, "unauthorized");
            checked += 1;
        }
    }

    assert!(checked >= 30, "{checked}");
    for path in
        ["/admin", "/admin/nothing", "/admin/page.js/x", "/admin/openapi.json", "/v2/sales", "/"]
    {
        ports[0].get(path).await.problem(401, "unauthorized");
    }
    world.at(0).get("/admin/keys").await.refuses(404, "route_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_malformed_or_repeated_key_is_refused() {
    let (world, ports) = World::with_admin(1).await;
    let (_, key) = world.create_key("ann", "--scopes read,operate").await;
    let (_, other) = world.create_key("bob", "--scopes read,operate").await;
    let (id, secret) = key.rsplit_once('_').unwrap();
    let (_, other_secret) = other.rsplit_once('_').unwrap();
    let last = if secret.ends_with('0') { '1' } else { '0' };
    let changed = format!("{}{last}", &key[..key.len() - 1]);
    let long = "x".repeat(30_000);
    let mixed = format!("{id}_{other_secret}");

    for forged in
        ["", "fsk_", &key[1..], &mixed, &changed, &key.to_lowercase(), &long, "fsk_\u{fc}"]
    {
        is_refused(&ports[0], &[("x-api-key", forged)]).await;
    }
    is_refused(&ports[0], &[("authorization", &format!("Bearer {key}"))]).await;
    is_refused(&ports[0], &[("x-api-key", &key), ("x-api-key", &key)]).await;
    is_refused(&ports[0], &[("x-api-key", &key), ("x-api-key", &other)]).await;
    let huge = "x".repeat(100_000);
    let refused = ports[0].send(Method::GET, "/admin/keys", &[("x-api-key", &huge)]).await;
    assert!([401, 431].contains(&refused.status), "{refused:?}");
    Operator::new(&ports[0], &key).get("/admin/keys").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reads_with_the_scope_read_and_changes_with_operate() {
    let (world, ports) = World::with_admin(1).await;
    let sale = world.create_sale("--items 2").await;
    let restock = format!("/admin/sales/{sale}/items/1/restock");
    let pieces = json!({ "pieces": 1 });

    for (scopes, reads, changes) in
        [("read", 200, 403), ("operate", 403, 200), ("sell", 403, 403), ("read,operate", 200, 200)]
    {
        let (_, key) = world.create_key(scopes, &format!("--scopes {scopes}")).await;
        let operator = Operator::new(&ports[0], &key);
        let read = operator.get("/admin/audit").await;
        let changed = operator.ask(Method::POST, &restock, &pieces).await;

        assert_eq!((read.status, changed.status), (reads, changes), "{scopes}: {changed:?}");
        for refused in [read, changed].into_iter().filter(|answer| answer.status == 403) {
            refused.problem(403, "forbidden");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_by_all_instances_within_a_second() {
    let (world, ports) = World::with_admin(2).await;
    let operators = world.operators(&ports).await;
    let (id, key) = world.create_key("bob", "--scopes read").await;
    let bob: Vec<_> = ports.iter().map(|port| Operator::new(port, &key)).collect();
    for instance in &bob {
        instance.get("/admin/keys").await.is(200);
    }

    let revoked =
        operators[0].ask(Method::DELETE, &format!("/admin/keys/{id}"), &Value::Null).await.is(200);

    let since = Instant::now();
    assert_eq!(revoked.at("/changed"), true);
    for instance in &bob {
        // Asks all the time, which keeps what the instance knows in use.
        until("the key is refused", async || {
            let asked = Instant::now();
            let status = instance.get("/admin/keys").await.status;
            let is_late = asked.duration_since(since) > Duration::from_secs(1);
            assert!(status == 401 || !is_late, "{:?} after the revocation", asked - since);
            status == 401
        })
        .await;
    }
    let again = world.prints(&format!("key revoke {id}")).await;
    assert_eq!(
        (&again["changed"], &again["revoked_at"]),
        (&json!(false), &revoked.at("/revoked_at"))
    );
    operators[1].get("/admin/keys").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_its_end() {
    let (world, ports) = World::with_admin(1).await;
    let (_, key) = world.create_key("ann", "--scopes read --expires-in 2s").await;
    let ann = Operator::new(&ports[0], &key);
    let lasting = world.create_key("bob", "--scopes read --expires-in 90d").await.1;

    let refused = eventually("the key has ended", async || {
        let answer = ann.get("/admin/keys").await;
        (answer.status != 200).then_some(answer)
    })
    .await;

    refused.problem(401, "unauthorized");
    Operator::new(&ports[0], &lasting).get("/admin/keys").await.is(200);
    let metrics = world.instances[0].monitor.get("/metrics").await.is(200).body;
    let metrics = crate::harness::metrics::Metrics::parse(&metrics);
    let outcome =
        |outcome: &str| metrics.sum("flash_sale_auth_total", &["kind=\"api_key\"", outcome]);
    assert!(outcome("outcome=\"expired\"") >= 1.0);
    assert!(outcome("outcome=\"accepted\"") >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_nothing_of_it_is_stored() {
    let (world, ports) = World::with_admin(1).await;
    let operator = &world.operators(&ports).await[0];
    let body = json!({ "name": "dashboard", "scopes": ["read", "sell"] });

    let first = operator.keyed("/admin/keys", "one", &body).await.is(201);
    let repeat = operator.keyed("/admin/keys", "one", &body).await.is(201);

    let key = first.at("/key").as_str().unwrap().to_owned();
    assert!(key.starts_with("fsk_"), "{key}");
    assert_eq!(
        (repeat.content(), repeat.header("idempotent-replayed")),
        (first.content(), Some("true"))
    );
    Operator::new(&ports[0], &key).get("/admin/audit").await.is(200);
    let listed = operator.get("/admin/keys").await.is(200);
    assert_eq!(listed.at("/data/0/scopes"), json!(["read", "sell"]));
    assert_eq!(listed.at("/data").as_array().unwrap().len(), 2);
    let secret = key.rsplit_once('_').unwrap().1;
    assert!(!listed.body.contains(secret) && !listed.body.contains("fsk_"));
    for table in ["api_keys", "operator_audit", "operator_requests"] {
        let rows = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} AS t");
        let rows: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(world.pool()).await.unwrap();
        assert!(!rows.is_empty() && !rows.contains(secret), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_created_listed_and_revoked_by_commands() {
    let world = World::plan(0).start().await;
    world.program.run(&["migrate"]).await.succeeded();

    let created =
        world.printed(&["key", "create", "Ann's laptop", "--scopes", "operate,read"]).await;

    assert_eq!(created["scopes"], json!(["read", "operate"]));
    assert_eq!((&created["expires_at"], &created["revoked_at"]), (&Value::Null, &Value::Null));
    world.create_key("ci", "--scopes sell --expires-in 90d").await;
    let page = world.prints("key list --limit 1").await;
    assert_eq!(page["data"][0]["name"], "ci");
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = world.prints(&format!("key list --cursor {cursor}")).await;
    assert_eq!((&rest["data"][0]["id"], &rest["next_cursor"]), (&created["id"], &Value::Null));
    assert!(!rest.to_string().contains("fsk_"));
    for (arguments, code) in [
        ("key create x", 2),
        ("key create x --scopes admin", 2),
        ("key create x --scopes read --expires-in 0s", 2),
        ("key revoke key_0", 2),
        ("key revoke key_0000000000000000", 1),
    ] {
        let ran = world.program.run(&arguments.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(ran.code, Some(code), "{arguments}: {ran}");
        assert_eq!(ran.complaint().len(), 1, "{arguments}: {ran}");
    }
    let none = world.program.clone().set("auth.api_keys.secret", "");
    let ran = none.run(&["key", "create", "x", "--scopes", "read"]).await;
    assert_eq!(ran.code, Some(2), "{ran}");
}
