//! The OpenAPI document of the port for operators is true, and complete enough to generate a client from it.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::documentation::{all, difference, objects, operations, parameters, resolved};
use crate::harness::{Client, Operator, World};

/// The document, and an operator who has read it.
async fn read(world: &World, ports: &[Client]) -> (Value, Operator) {
    let operator = world.operators(ports).await.remove(0);
    let document = operator.get("/admin/openapi.json").await.is(200).json();
    (document, operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_complete_and_the_command_prints_the_same() {
    let (world, ports) = World::with_admin(1).await;
    let (document, operator) = read(&world, &ports).await;
    let printed = world.program.run(&["openapi", "--admin"]).await.succeeded();

    let served = operator.get("/admin/openapi.json").await.is(200);
    assert_eq!(served.body.trim(), printed.stdout.trim());
    assert_eq!(document["openapi"], "3.1.0");
    let scheme = &document["components"]["securitySchemes"]["api_key"];
    assert_eq!(*scheme, json!({ "type": "apiKey", "in": "header", "name": "X-Api-Key" }));
    assert_eq!(document["security"], json!([{ "api_key": [] }]));
    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    for reference in &references {
        let place = reference.as_str().unwrap().trim_start_matches('#');
        assert!(document.pointer(place).is_some(), "{place} is not there");
    }
    let operations = operations(&document);
    let names: BTreeSet<_> = operations
        .iter()
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), operations.len(), "{names:?}");
    assert!(names.len() >= 30, "{names:?}");
    for (path, method, operation) in operations {
        assert!(path.starts_with("/admin/"), "{path}");
        for status in ["401", "403"] {
            assert!(operation["responses"].get(status).is_some(), "{method} {path}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_accepts_the_methods_of_the_document_and_no_others() {
    let (world, ports) = World::with_admin(1).await;
    let (document, operator) = read(&world, &ports).await;

    for (path, operations) in document["paths"].as_object().unwrap() {
        let filled = path.replace(['{', '}'], "");
        let refused = operator.send(Method::PUT, &filled, &[], String::new()).await;
        let refused = refused.problem(405, "method_not_allowed");
        let allow = refused.header("allow").unwrap().to_lowercase();
        let mut allowed: BTreeSet<_> = allow.split(',').map(str::trim).collect();
        // `HEAD` belongs to `GET`.
        allowed.remove("head");
        let documented: BTreeSet<_> =
            operations.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(allowed, documented, "{path}");
    }
    operator.get("/admin/nothing").await.problem(404, "route_not_found");
    operator.get("/nothing").await.problem(404, "route_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_the_document_has_a_page_on_this_port_too() {
    let (world, ports) = World::with_admin(1).await;
    let (document, _) = read(&world, &ports).await;

    let text = document.to_string();
    let links = text.split("(/problems/").skip(1);
    let codes: BTreeSet<_> = links.map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(codes.len() > 15, "{codes:?}");
    for code in codes {
        for port in [&ports[0], world.at(0)] {
            let page = port.get(&format!("/problems/{code}")).await.is(200);
            assert!(page.body.contains(code), "{code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schema_is_used_every_number_bounded_and_every_value_has_an_example() {
    let (world, ports) = World::with_admin(1).await;
    let (document, _) = read(&world, &ports).await;

    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let reference = json!(format!("#/components/schemas/{name}"));
        assert!(references.contains(&&reference), "nothing refers to {name}");
    }
    objects(&document, &mut |object| {
        if object["type"] == "integer" {
            assert!(object["minimum"].is_number(), "{object}");
        }
    });
    for (place, parameter, schema) in parameters(&document) {
        assert!(!schema.to_string().contains("\"null\""), "{place} can be null: {schema}");
        let is_flag = schema["type"] == "boolean";
        assert!(is_flag || schema["examples"].is_array(), "{place} has no example in its schema");
        assert_eq!(parameter.get("example").is_some(), parameter["required"] == true, "{place}");
    }
    for (path, method, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap().values();
        for body in responses.chain(operation.get("requestBody")) {
            for content in body["content"].as_object().into_iter().flat_map(|all| all.values()) {
                let several = content["examples"].as_object().is_some_and(|all| !all.is_empty());
                let one = !content["example"].is_null();
                assert!(several || one, "{method} {path}: {body}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_have_the_members_of_the_real_responses() {
    let plan = World::plan(0).set("webhooks.allow_private", "true");
    let (world, ports) = World::planned_with_admin(plan, 1).await;
    let (document, operator) = read(&world, &ports).await;
    let post = async |path: &str, body: Value| operator.ask(Method::POST, path, &body).await;
    let sale = post("/admin/sales", json!({ "items": 2 })).await.is(201);
    let own = format!("/admin/sales/{}", sale.at("/sale_id").as_str().unwrap());
    let restocked = post(&format!("{own}/items/1/restock"), json!({ "pieces": 1 })).await.is(200);
    let hook = post("/admin/webhooks", json!({ "url": "http://127.0.0.1:1/" })).await.is(201);
    let hook_path = format!("/admin/webhooks/{}", hook.at("/id").as_str().unwrap());
    let key = post("/admin/keys", json!({ "name": "ci", "scopes": ["read"] })).await.is(201);
    let key_path = format!("/admin/keys/{}", key.at("/id").as_str().unwrap());
    let job = post("/admin/jobs", json!({ "type": "noop", "in": "1h" })).await.is(201);

    let real = [
        ("/admin/sales", "post", sale),
        ("/admin/sales", "get", operator.get("/admin/sales").await.is(200)),
        (
            "/admin/sales/{sale_id}",
            "patch",
            operator.ask(Method::PATCH, &own, &json!({ "name": "x" })).await.is(200),
        ),
        ("/admin/sales/{sale_id}/items/{item_id}/restock", "post", restocked),
        ("/admin/audit", "get", operator.get("/admin/audit?limit=1").await.is(200)),
        ("/admin/jobs", "post", job),
        ("/admin/jobs", "get", operator.get("/admin/jobs").await.is(200)),
        ("/admin/schedules", "get", operator.get("/admin/schedules").await.is(200)),
        ("/admin/webhooks", "post", hook),
        ("/admin/webhooks/{webhook_id}", "get", operator.get(&hook_path).await.is(200)),
        (
            "/admin/webhooks/{webhook_id}/rotate-secret",
            "post",
            post(&format!("{hook_path}/rotate-secret"), Value::Null).await.is(200),
        ),
        (
            "/admin/webhooks/{webhook_id}/test",
            "post",
            post(&format!("{hook_path}/test"), Value::Null).await.is(200),
        ),
        ("/admin/keys", "post", key),
        ("/admin/keys", "get", operator.get("/admin/keys").await.is(200)),
        (
            "/admin/keys/{key_id}",
            "delete",
            operator.ask(Method::DELETE, &key_path, &Value::Null).await.is(200),
        ),
        ("/admin/jobs/{job_id}", "get", operator.get("/admin/jobs/999").await.is(404)),
    ];

    for (path, method, real) in real {
        let response = &document["paths"][path][method]["responses"][real.status.to_string()];
        let content = response["content"].as_object().unwrap().values().next().unwrap();
        let (_, error) = real.status_and_code();
        let example = match content.get("example") {
            Some(example) => example,
            None => &resolved(&document, &content["examples"][&error])["value"],
        };
        let mut real = real.json();
        if path == "/admin/audit" {
            // Each kind of change has members of its own.
            for state in ["before", "after"] {
                real["data"][0][state] = Value::Null;
            }
        }
        assert_eq!(difference("", example, &real), None, "{method} {path}");
    }
}
