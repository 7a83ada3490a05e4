//! The documentation is true: its examples run unchanged, and the OpenAPI document is the service's own.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Wire, World, wire};

/// Statuses and bodies of the requests in a block of shell commands. The first `code` in a response replaces every code in the
/// block.
async fn run_session(world: &World, sale: &str, block: &str) -> Vec<(u16, String)> {
    let commands = block.replace("\\\n", " ");
    let (mut responses, mut code) = (Vec::new(), String::new());
    for command in commands.lines().filter(|line| line.starts_with("curl ")) {
        // Prints the status after the body, on a line of its own.
        let command = command.replace("CHK-S-1-…", "$CODE").replace(" -i ", " ");
        let command = command.replacen("curl ", "curl --max-time 180 -w '\\n%{http_code}' ", 1);
        let mut bash = Command::new("bash");
        bash.args(["-c", &command]).env("SHOP", format!("http://{}", world.at(0).address));
        bash.env("SALE", sale).env("CODE", &code).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || bash.output()).await.unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{command}: {text}"));
        if code.is_empty()
            && let Ok(answer) = serde_json::from_str::<Value>(body)
        {
            answer["code"].as_str().unwrap_or_default().clone_into(&mut code);
        }
        responses.push((status.parse().unwrap(), format!("{command}: {body}")));
    }
    responses
}

/// The block of a document that follows this line.
fn block<'a>(document: &'a str, begins: &str) -> &'a str {
    let (_, rest) = document.split_once(begins).unwrap();
    rest.split_once("```\n").unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_version_two_runs_unchanged() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 50 --stock 9").await;
    let responses =
        run_session(&world, &sale, block(include_str!("../../docs/http.md"), "```sh session\n"))
            .await;

    let statuses: Vec<_> = responses.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 201, 201, 200, 200, 200, 200], "{responses:#?}");
    assert!(responses.last().unwrap().1.contains("\"pieces_bought\":3"), "{responses:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_the_readme_runs_unchanged() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 50").await;
    let readme = include_str!("../../README.md");
    let session = block(readme, "SHOP=http://127.0.0.1:8080\n");
    let responses = run_session(&world, &sale, session).await;

    assert!(responses.len() >= 7, "{responses:#?}");
    assert!(responses.iter().all(|(status, _)| *status == 200), "{responses:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_the_start_page_runs_unchanged() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9").await;
    let page = world.at(0).send(Method::GET, "/", &[("accept", "text/html")]).await.is(200).body;
    let blocks = page.split("<pre><code>").skip(1);
    let blocks: Vec<_> = blocks.map(|rest| rest.split_once("</code>").unwrap().0).collect();
    let session = blocks.join("\n");
    assert!(!session.contains('&'), "it would have to be decoded: {session}");

    let responses = run_session(&world, &sale, &session).await;

    let statuses: Vec<_> = responses.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 201, 200], "{responses:#?}");
    assert!(responses.last().unwrap().1.contains("\"pieces_bought\":1"), "{responses:#?}");
}

/// Collects every value with this name, at any depth.
pub(crate) fn all<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if key == name {
                    found.push(value);
                }
                all(value, name, found);
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| all(entry, name, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_complete_and_the_command_prints_the_same() {
    let world = World::of(1).await;
    let served = world.at(0).get("/openapi.json").await.is(200);
    let printed = world.program.run(&["openapi"]).await.succeeded();

    let document = served.json();
    assert_eq!(served.body.trim(), printed.stdout.trim());
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    for reference in &references {
        let place = reference.as_str().unwrap().trim_start_matches('#');
        assert!(document.pointer(place).is_some(), "{place} is not there");
    }
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let names: Vec<_> =
        operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{names:?}");
    assert!(names.len() >= 18, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_accepts_the_methods_of_the_document_and_no_others() {
    let world = World::of(1).await;
    let document = world.at(0).get("/openapi.json").await.is(200).json();

    for (path, operations) in document["paths"].as_object().unwrap() {
        let filled = path.replace(['{', '}'], "");
        let mut wire = Wire::connect(world.at(0).address).await.unwrap();
        wire.send(&wire::request("PATCH", &filled)).await;
        let received = wire.receive().await;
        assert_eq!(received.status, Some(405), "{path}");
        let allow = received
            .head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("allow:").map(str::to_owned));
        let allow = allow.unwrap();
        let mut allowed: BTreeSet<_> = allow.trim().split(',').map(str::trim).collect();
        // `HEAD` belongs to `GET`.
        allowed.remove("head");
        let documented: BTreeSet<_> =
            operations.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(allowed, documented, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_the_document_has_a_page() {
    let world = World::of(1).await;
    let document = world.at(0).get("/openapi.json").await.is(200).body;

    let links: BTreeSet<_> =
        document.split("(/problems/").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(links.len() > 20, "{links:?}");
    for code in links {
        let page = world.at(0).send(Method::GET, &format!("/problems/{code}"), &[]).await.is(200);
        assert!(page.body.contains(code), "{code}");
    }
}

/// Operations of the document, with their path, method and description.
pub(crate) fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(|(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    operations.collect()
}

/// Follows a reference.
pub(crate) fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    value["$ref"]
        .as_str()
        .map_or(value, |reference| document.pointer(reference.trim_start_matches('#')).unwrap())
}

/// The parameters of all operations, each with its operation and its schema.
pub(crate) fn parameters(document: &Value) -> Vec<(String, &Value, &Value)> {
    let found = operations(document).into_iter().flat_map(|(path, method, operation)| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.map(move |parameter| {
            let schema = resolved(document, &parameter["schema"]);
            (format!("{} of {method} {path}", parameter["name"]), parameter, schema)
        })
    });
    found.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_is_null_and_no_page_has_a_default() {
    let world = World::of(1).await;
    let document = world.at(0).get("/openapi.json").await.is(200).json();

    let parameters = parameters(&document);
    assert!(parameters.len() > 40, "{parameters:#?}");
    for (place, parameter, schema) in parameters {
        assert!(!schema.to_string().contains("\"null\""), "{place} can be null: {schema}");
        if parameter["name"] == "page" {
            // A client that sends it gets pages, which have no cursor.
            assert_eq!(schema.get("default"), None, "{place}");
            assert_eq!(parameter["required"], false, "{place}");
        }
    }
    assert_eq!(document["security"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schema_is_used_once_written_and_every_number_has_a_bound() {
    let world = World::of(1).await;
    let document = world.at(0).get("/openapi.json").await.is(200).json();

    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        let reference = json!(format!("#/components/schemas/{name}"));
        assert!(references.contains(&&reference), "nothing refers to {name}");
    }
    let mut entries = Vec::new();
    all(&document["components"], "items", &mut entries);
    for entry in entries {
        assert!(entry.get("allOf").or(entry["items"].get("properties")).is_none(), "{entry}");
        assert!(entry["type"] != "object" || entry.get("properties").is_none(), "{entry}");
    }
    let mut integers = Vec::new();
    objects(&document, &mut |object| {
        if object["type"] == "integer" {
            integers.push(object.clone());
        }
    });
    assert!(integers.len() > 20, "{integers:#?}");
    for integer in integers {
        assert!(integer["minimum"].is_number(), "{integer}");
    }
}

/// Visits every object, at any depth.
pub(crate) fn objects(value: &Value, visit: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            visit(value);
            members.values().for_each(|member| objects(member, visit));
        }
        Value::Array(entries) => entries.iter().for_each(|entry| objects(entry, visit)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_and_every_body_has_an_example() {
    let world = World::of(1).await;
    let document = world.at(0).get("/openapi.json").await.is(200).json();

    for (place, parameter, schema) in parameters(&document) {
        let is_flag = schema["type"] == "boolean";
        assert!(is_flag || schema["examples"].is_array(), "{place} has no example in its schema");
        // The page that shows the document sends every parameter that has one of its own.
        assert_eq!(parameter.get("example").is_some(), parameter["required"] == true, "{place}");
    }
    let mut bodies = 0;
    for (path, method, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap().values();
        for body in responses.chain(operation.get("requestBody")) {
            for content in body["content"].as_object().into_iter().flat_map(|all| all.values()) {
                let several = content["examples"].as_object().is_some_and(|all| !all.is_empty());
                assert!(several || content["example"].is_object(), "{method} {path}: {body}");
                bodies += 1;
            }
        }
    }
    assert!(bodies > 100, "{bodies}");
}

/// Where two values differ in their members or types. Null and an empty list may stand for anything.
pub(crate) fn difference(place: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names = |members: &serde_json::Map<String, Value>| -> BTreeSet<String> {
                members.keys().cloned().collect()
            };
            if names(one) != names(other) {
                return Some(format!("{place}: {:?} and {:?}", names(one), names(other)));
            }
            let mut members = one.iter();
            members.find_map(|(name, value)| {
                difference(&format!("{place}/{name}"), value, &other[name])
            })
        }
        (Value::Array(one), Value::Array(other)) => {
            let (one, other) = (one.first()?, other.first()?);
            difference(&format!("{place}/0"), one, other)
        }
        (Value::Null, _) | (_, Value::Null) => None,
        (one, other) => {
            let same = std::mem::discriminant(one) == std::mem::discriminant(other);
            (!same).then(|| format!("{place}: {one} and {other}"))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_have_the_members_of_the_real_responses() {
    let world = World::of(1).await;
    let document = world.at(0).get("/openapi.json").await.is(200).json();
    let sale = world.create_sale("--items 9 --stock 5").await;
    let shop = world.at(0);
    let body = json!({ "buyer_id": "ann", "sale_id": sale, "items": [{ "id": "7" }] });
    let collected = shop.write(Method::POST, "/v2/checkouts", "one", &body).await.is(201);
    let code = collected.at("/code").as_str().unwrap().to_owned();
    let v1_code = shop.checkout(&sale, "bob", "1").await;
    let v1_code_text = v1_code.clone().checkout_code();
    let get = async |path: String| shop.get(&path).await.is(200);

    let real = [
        ("/v2/checkouts", "post", collected),
        ("/v2/checkouts/{code}", "get", get(format!("/v2/checkouts/{code}")).await),
        ("/v2/checkouts/{code}/purchase", "post", shop.buy(&code, "two").await.is(200)),
        ("/v2/purchases/{code}", "get", get(format!("/v2/purchases/{code}")).await),
        ("/v2/buyers/{buyer_id}/purchases", "get", get("/v2/buyers/ann/purchases".into()).await),
        ("/v2/sales", "get", get("/v2/sales".into()).await),
        ("/v2/sales/active", "get", get("/v2/sales/active".into()).await),
        ("/v2/sales/{sale_id}", "get", get(format!("/v2/sales/{sale}")).await),
        ("/v2/sales/{sale_id}/items", "get", get(format!("/v2/sales/{sale}/items")).await),
        ("/v1/checkout", "post", v1_code),
        ("/v1/purchase", "post", shop.purchase(&v1_code_text).await.is(200)),
        ("/v1/purchases/{code}", "get", get(format!("/v1/purchases/{v1_code_text}")).await),
        ("/v1/users/{user_id}/purchases", "get", get("/v1/users/bob/purchases".into()).await),
        ("/v1/sales/active", "get", get("/v1/sales/active".into()).await),
        ("/v1/sales/{sale_id}", "get", get(format!("/v1/sales/{sale}")).await),
        ("/v1/sales/{sale_id}/items", "get", get(format!("/v1/sales/{sale}/items")).await),
        ("/v2/sales/{sale_id}", "get", shop.get("/v2/sales/S-999").await.is(404)),
        ("/v1/sales/{sale_id}", "get", shop.get("/v1/sales/S-999").await.is(404)),
        ("/v2/sales", "get", shop.get("/v2/sales?limit=101").await.is(400)),
        (
            "/v1/sales/{sale_id}/items",
            "get",
            shop.get("/v1/sales/S-1/items?limit=101").await.is(400),
        ),
    ];

    for (path, method, real) in real {
        let response = &document["paths"][path][method]["responses"][real.status.to_string()];
        let content = response["content"].as_object().unwrap().values().next().unwrap();
        let (_, error) = real.status_and_code();
        let example = match content.get("example") {
            Some(example) => example,
            // A problem's example is the body itself.
            None => &resolved(&document, &content["examples"][&error])["value"],
        };
        assert_eq!(difference("", example, &real.json()), None, "{method} {path}");
        if real.status >= 400 {
            assert_eq!(*example, real.json(), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_moving_empties_every_table_that_migrations_fill() {
    let world = World::plan(0).start().await;
    world.program.run(&["migrate"]).await.succeeded();
    let tables = "SELECT relname::text FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                    AND NOT relispartition AND relpersistence = 'p' AND relname <> '_sqlx_migrations'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(world.pool()).await.unwrap();
    let mut filled = BTreeSet::new();
    for table in tables {
        let rows = sqlx::AssertSqlSafe(format!("SELECT EXISTS (SELECT FROM {table})"));
        if sqlx::query_scalar(rows).fetch_one(world.pool()).await.unwrap() {
            filled.insert(table);
        }
    }

    let page = include_str!("../../docs/moving-postgresql.md");
    let (_, emptied) = page.split_once("\"TRUNCATE ").unwrap();
    let (emptied, _) = emptied.split_once('"').unwrap();
    assert_eq!(emptied.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(), filled);
}
