//! The documentation is true: its examples run unchanged, and the OpenAPI document is the service's own.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::Value;

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
fn all<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
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
