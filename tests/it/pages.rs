//! Pages for people: the start page, the API reference, and the pages of problems.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use reqwest::redirect::Policy;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::builder;
use crate::harness::{Answer, World};

/// What browsers accept.
const BROWSER: (&str, &str) =
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
/// Every page.
const PAGES: [&str; 4] = ["/", "/docs/", "/problems/", "/problems/sale_ended"];
/// What pages consist of. A browser loads nothing else, because of the policy.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

async fn page(world: &World, path: &str) -> Answer {
    world.at(0).send(Method::GET, path, &[BROWSER]).await
}

/// The values of an attribute.
fn attributes<'h>(html: &'h str, name: &str) -> Vec<&'h str> {
    let opening = format!(" {name}=\"");
    let after = html.split(&opening).skip(1);
    after.map(|rest| rest.split('"').next().unwrap()).collect()
}

/// The text between the first `from` and the next `to`.
fn between<'h>(html: &'h str, from: &str, to: &str) -> &'h str {
    let (_, rest) = html.split_once(from).unwrap_or_else(|| panic!("no {from} in {html}"));
    rest.split_once(to).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_a_start_page_and_a_client_of_the_api_an_error() {
    let world = World::plan(1).set("http.v1.deprecated_at", "2027-01-01T00:00:00Z").start().await;
    let client = world.at(0);

    let start = page(&world, "/").await.is(200);
    assert_eq!(start.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(start.header("vary").unwrap().contains("accept"));
    assert!(start.header("deprecation").is_none());
    for link in ["docs/", "problems/", "openapi.json"] {
        assert!(attributes(&start.body, "href").contains(&link), "{link}");
    }
    client.send(Method::HEAD, "/", &[BROWSER]).await.is(200);

    for accept in ["*/*", "application/json", "application/json, text/html;q=0.5"] {
        let answer = client.send(Method::GET, "/", &[("accept", accept)]).await;
        let answer = answer.refuses(404, "route_not_found");
        assert!(answer.header("vary").unwrap().contains("accept"), "{accept}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{accept}");
    }
    client.get("/").await.refuses(404, "route_not_found");
    let two = client.send(Method::GET, "/", &[("api-version", "2")]).await;
    two.problem(404, "route_not_found");
    client.send(Method::POST, "/", &[BROWSER]).await.refuses(404, "route_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_has_a_title_and_is_protected() {
    let world = World::of(1).await;

    let mut titles = BTreeSet::new();
    for path in PAGES {
        let page = page(&world, path).await.is(200);
        titles.insert(between(&page.body, "<title>", "</title>").to_owned());
        assert!(!page.body.contains("{{"), "{path}");
    }

    assert_eq!(titles.len(), PAGES.len(), "{titles:?}");
    assert!(titles.iter().all(|title| title.contains("flash-sale")), "{titles:?}");
    for path in PAGES.into_iter().chain(["/docs/page.css", "/docs/swagger-ui-bundle.js"]) {
        let page = page(&world, path).await.is(200);
        assert_eq!(page.header("content-security-policy"), Some(POLICY), "{path}");
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_need_nothing_from_elsewhere() {
    let world = World::of(1).await;
    // A gateway may serve the service below a path, so a page must not refer to the root of the host.
    let host = Url::parse("http://shop.example/below/").unwrap();
    let client = builder().redirect(Policy::none()).build().unwrap();
    let moved = client.get(format!("http://{}/docs", world.at(0).address)).send().await.unwrap();
    let location = moved.headers()["location"].to_str().unwrap();
    let target = host.join("docs").unwrap().join(location).unwrap();
    assert_eq!((moved.status().as_u16(), target.path()), (303, "/below/docs/"));

    let mut found = BTreeSet::new();
    for path in PAGES {
        let page = page(&world, path).await.is(200);
        let url = host.join(path.trim_start_matches('/')).unwrap();
        for name in ["src", "href"] {
            let links = attributes(&page.body, name);
            found.extend(links.into_iter().map(|link| url.join(link).unwrap().to_string()));
        }
        assert!(!page.body.contains("<style") && !page.body.contains(" style="), "{path}");
    }
    let style = world.at(0).get("/docs/ui.css").await.is(200).body;
    let import = between(&style, "@import url(\"", "\")");
    found.insert(host.join("docs/").unwrap().join(import).unwrap().to_string());

    for link in ["docs/icon.svg", "docs/page.css", "docs/swagger-ui.css", "docs/ui.js"] {
        assert!(found.contains(host.join(link).unwrap().as_str()), "{link} in {found:?}");
    }
    for link in found {
        let path =
            link.strip_prefix(host.as_str()).unwrap_or_else(|| panic!("{link} is elsewhere"));
        let answer = page(&world, &format!("/{path}")).await.is(200);
        assert!(!answer.body.is_empty(), "{path}");
    }
    for file in ["page.css", "ui.css", "ui.js"] {
        let text = world.at(0).get(&format!("/docs/{file}")).await.is(200).body;
        assert!(!text.contains("http:") && !text.contains("https:"), "{file}");
    }
    for file in ["nothing.js", "../page.css", "pages/page.css", ""] {
        let answer = world.at(0).get(&format!("/docs/x{file}")).await;
        answer.refuses(404, "route_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_has_a_page_does_not_get_it_again() {
    let world = World::of(1).await;

    for path in PAGES.into_iter().chain(["/docs/ui.js", "/docs/swagger-ui-bundle.js"]) {
        let first = page(&world, path).await.is(200);
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let known = [BROWSER, ("if-none-match", first.header("etag").unwrap())];
        let again = world.at(0).send(Method::GET, path, &known).await.is(304);
        assert!(again.body.is_empty(), "{path}");
        assert_eq!(again.header("content-security-policy"), Some(POLICY), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_problems_has_every_code_with_its_status_and_a_sentence() {
    let world = World::of(1).await;
    let document = world.at(0).get("/openapi.json").await.is(200).json();
    let table = page(&world, "/problems/").await.is(200).body;

    let mut listed = BTreeMap::new();
    for row in between(&table, "<tbody>", "</tbody>").split("<tr>").skip(1) {
        let (status, code) = (between(row, "\">", "</span>"), between(row, "<code>", "</code>"));
        assert_eq!(attributes(row, "href"), [code], "{row}");
        let sentence = row.rsplit("<td>").next().unwrap();
        assert!(sentence.len() > 20 && sentence.contains('.'), "{row}");
        assert!(listed.insert(code.to_owned(), status.to_owned()).is_none(), "{code} twice");
    }

    assert!(listed.len() >= 30, "{listed:?}");
    for operations in document["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let text = response["description"].as_str().unwrap_or_default();
                for code in
                    text.split("(/problems/").skip(1).map(|rest| rest.split(')').next().unwrap())
                {
                    assert_eq!(listed.get(code), Some(status), "{code}");
                }
            }
        }
    }
    for (code, status) in listed {
        let page = page(&world, &format!("/problems/{code}")).await.is(200).body;
        assert!(page.contains(&format!("<h1><code>{code}</code></h1>")), "{code}");
        assert!(page.contains(&format!("\">{status}</span>")), "{code}");
        assert!(page.contains("What it means") && page.contains("What to do"), "{code}");
        assert!(page.contains(&format!("&quot;status&quot;: {status}")), "{code}");
    }
}

/// The elements of a page after its scripts have run, from the first of these browsers; `None` if none is installed.
async fn in_a_browser(world: &World, path: &str) -> Option<String> {
    let url = format!("http://{}{path}", world.at(0).address);
    let run = move || {
        let is_installed = |name: &&str| {
            let found = Command::new(name).arg("--version").stdout(Stdio::null()).status();
            found.is_ok_and(|status| status.success())
        };
        let browser =
            ["chromium", "chromium-browser", "google-chrome"].into_iter().find(is_installed)?;
        let profile = std::env::temp_dir().join(format!("browser-{}", Uuid::now_v7().simple()));
        let mut command = Command::new("timeout");
        command.args([
            "120",
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ]);
        command.arg(format!("--user-data-dir={}", profile.display()));
        // Time passes at once where the page waits for nothing but time.
        let output =
            command.args(["--virtual-time-budget=20000", "--dump-dom", &url]).output().unwrap();
        std::fs::remove_dir_all(profile).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_reference_starts_with_values_that_work_and_shows_errors_once() {
    let world = World::of(1).await;
    let sale = world.create_sale("--items 9 --stock 1").await;
    world.at(0).buys(&sale, "bob", "1").await;

    let Some(page) = in_a_browser(&world, "/docs/#/checkouts/collect").await else {
        eprintln!("no chromium is installed: the script of the API reference is not tested");
        return;
    };

    let request = between(
        &page,
        "id=\"operations-checkouts-collect\"",
        "id=\"operations-checkouts-checkout\"",
    );
    let key = between(request, "placeholder=\"Idempotency-Key\" value=\"", "\"");
    assert!(Uuid::parse_str(key).is_ok_and(|key| key.get_version_num() == 4), "{key}");
    let body: Value =
        serde_json::from_str(between(between(request, "<textarea", "/textarea>"), ">", "<"))
            .unwrap();
    assert_eq!(body["sale_id"], sale);
    assert_eq!(body["items"][0], json!({ "id": "2", "quantity": 1 }));
    let added = world.at(0).write(Method::POST, "/v2/checkouts", key, &body).await;
    added.is(201);
    let responses: Vec<_> = attributes(request, "data-code");
    assert_eq!(responses, ["200", "201"]);
    assert_eq!(request.matches("class=\"errors-once\"").count(), 1);
    for code in ["user_limit_exceeded", "item_sold_out", "sale_ended"] {
        assert_eq!(request.matches(&format!("/problems/{code}\"")).count(), 1, "{code}");
    }
    assert!(!request.contains("/problems/payload_too_large") && !page.contains("Explore"));
}
