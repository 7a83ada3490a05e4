//! The clients in `examples/` run as they stand, and buy also while instances are killed.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::Value;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::harness::process::Process;
use crate::harness::{Program, World, until};

/// Buyers at the same time.
const BUYERS: usize = 60;
/// Requests that hold a lock when an instance is killed: about half of them in that one. An instance has ten connections, so at most
/// ten batches of requests wait for the table in each.
const IN_FLIGHT: usize = 8;

/// Whether there is a Python for the examples.
fn has_python() -> bool {
    let has_version = "import sys; sys.exit(sys.version_info < (3, 9))";
    let found = Command::new("python3").args(["-c", has_version]).status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("examples: there is no Python 3.9, so those in Python are not run");
    }
    is_there
}

/// Starts an example in Python.
fn start(script: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new("python3");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // Without compiled modules beside the sources.
    command.arg("-B").arg(format!("{}/examples/{script}", env!("CARGO_MANIFEST_DIR")));
    Process::start(command.args(arguments))
}

async fn finished(mut process: Process) -> (Option<i32>, String, String) {
    let code = process.exit().await;
    (code, process.stdout.text(), process.stderr.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buyer_in_python_buys_and_names_what_is_refused() {
    if !has_python() {
        return;
    }
    let world = World::of(1).await;
    let sale = world.create_sale("--items 3 --stock 2 --buyer-limit 4").await;
    let shop = format!("http://{}", world.at(0).address);
    let buyer = |arguments: &[&str]| start("buyer.py", arguments);

    let (code, stdout, stderr) = finished(buyer(&[&shop, "ann"])).await;
    assert_eq!(code, Some(0), "{stderr}");
    let purchase: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&purchase["pieces_bought"], &purchase["sale_id"]), (&2.into(), &sale.into()));
    let stored = format!("/v2/purchases/{}", purchase["code"].as_str().unwrap());
    assert_eq!(world.at(0).get(&stored).await.is(200).json(), purchase);

    let (code, stdout, _) = finished(buyer(&[&shop, "bob", "3:2"])).await;
    assert_eq!(code, Some(0));
    assert!(stdout.contains("\"pieces_bought\": 2"), "{stdout}");
    for (arguments, reason) in [
        (["eve", "3", "1"], "409 item_sold_out"),
        (["eve", "9", "1"], "404 item_not_found"),
        (["eve", "1:5", "2"], "#/items/0/quantity"),
        (["a b", "1", "2"], "#/buyer_id"),
    ] {
        let (code, _, stderr) = finished(buyer(&[&[shop.as_str()], &arguments[..]].concat())).await;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(reason) && !stderr.contains("Traceback"), "{stderr}");
    }
    assert_eq!(finished(buyer(&[&shop])).await.0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_script_buys_within_its_bounds_and_counts_what_it_bought() {
    if !has_python() {
        return;
    }
    let world = World::of(2).await;
    let sale = world.create_sale("--items 250 --stock 1").await;
    let shops: Vec<_> =
        world.clients().iter().map(|shop| format!("http://{}", shop.address)).collect();
    let shops = shops.join(",");

    let arguments = [&shops, "--buyers", "40", "--parallel", "8", "--sale", &sale];
    let (code, stdout, stderr) = finished(start("load.py", &arguments)).await;

    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let outcomes = report["outcomes"].as_object().unwrap();
    let buyers: u64 = outcomes.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((buyers, &report["buyers"]), (40, &40.into()), "{report}");
    let pieces = usize::try_from(report["pieces_bought"].as_u64().unwrap()).unwrap();
    assert!(pieces > 0, "{report}");
    world.sells_exactly(&sale, pieces).await;
    world.verify().await;
}

/// A request of a `.http` file, with `{{…}}` filled in.
struct HttpFile {
    variables: HashMap<String, String>,
    responses: HashMap<String, Value>,
}

impl HttpFile {
    /// Replaces variables, new ids and values of earlier responses.
    fn filled(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once("{{") else {
            return text.to_owned();
        };
        let (name, after) = rest.split_once("}}").unwrap();
        let value = match name.split_once(".response.body.$") {
            Some((request, path)) => {
                let pointer = path.replace(['.', '['], "/").replace(']', "");
                let value = self.responses[request].pointer(&pointer);
                value.and_then(Value::as_str).unwrap_or_else(|| panic!("no {name}")).to_owned()
            }
            None if name == "$guid" => Uuid::now_v7().to_string(),
            None => self.filled(&self.variables[name]),
        };
        format!("{before}{value}{}", self.filled(after))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_the_http_file_succeed_from_top_to_bottom() {
    let world = World::of(1).await;
    world.create_sale("--items 9 --stock 1").await;
    let text = include_str!("../../examples/shop.http");
    let lines = text.lines().filter_map(|line| line.strip_prefix('@')?.split_once(" = "));
    let variables = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut file = HttpFile { variables: variables.collect(), responses: HashMap::new() };
    assert_eq!(file.variables["shop"], "http://127.0.0.1:8080");
    file.variables.insert("shop".to_owned(), String::new());

    let mut statuses = Vec::new();
    for request in text.split("\n###").skip(1) {
        let (_title, request) = request.split_once('\n').unwrap();
        let name = request.lines().find_map(|line| line.strip_prefix("# @name "));
        let lines = request.lines().filter(|line| !line.starts_with('#'));
        let request = lines.collect::<Vec<_>>().join("\n");
        let (head, body) = request.trim().split_once("\n\n").unwrap_or((request.trim(), ""));
        let (head, body) = (file.filled(head), file.filled(body));
        let (first, headers) = head.split_once('\n').unwrap_or((&head, ""));
        let (method, path) = first.split_once(' ').unwrap();
        let headers: Vec<_> = headers.lines().filter_map(|line| line.split_once(": ")).collect();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = world.at(0).send_with(method, path, &headers, body).await;
        assert!(answer.status < 300, "{first}: {}", answer.body);
        statuses.push(answer.status);
        if let Some(name) = name {
            file.responses.insert(name.to_owned(), answer.json());
        }
        if path.ends_with("/purchases") {
            assert_eq!(answer.at("/data/0/pieces_bought"), 1, "{}", answer.body);
        }
    }

    assert_eq!(statuses, [200, 200, 200, 201, 200, 200, 200, 200, 200, 200]);
    world.verify().await;
}

/// Keeps every write to a table from its end until the transaction ends.
async fn hold(world: &World, lock: &'static str) -> Transaction<'static, Postgres> {
    let mut hold = world.pool().begin().await.unwrap();
    sqlx::query(lock).execute(&mut *hold).await.unwrap();
    hold
}

async fn count(world: &World, of: &'static str) -> i64 {
    sqlx::query_scalar(of).fetch_one(world.pool()).await.unwrap()
}

/// The locks of requests that run, by a part of their names.
async fn locks(world: &World, name: &str) -> Vec<String> {
    let pattern = format!("{}*{name}:*", world.key_prefix);
    let mut redis = world.redis().await;
    redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await.unwrap()
}

/// Kills the first instance while requests run that hold locks with this name, and lets the table go. Then waits until a buyer was
/// refused with this code, because of a lock that the instance still holds, and lets the locks expire.
async fn kill_first(
    world: &mut World,
    buyers: &[Process],
    (lock, hold): (&str, Transaction<'_, Postgres>),
    code: &str,
) {
    until("requests run", async || locks(world, lock).await.len() >= IN_FLIGHT).await;
    let refusals =
        || -> usize { buyers.iter().map(|buyer| buyer.stderr.text().matches(code).count()).sum() };
    let before = refusals();
    let mut killed = world.instances.remove(0);
    killed.process.signal(Signal::SIGKILL);
    assert_eq!(killed.process.exit().await, None);
    hold.rollback().await.unwrap();
    until("a buyer is refused because of the dead instance's lock", async || refusals() > before)
        .await;
    let left = [locks(world, "gate").await, locks(world, "lock").await].concat();
    if !left.is_empty() {
        let mut redis = world.redis().await;
        let _: usize = redis::cmd("DEL").arg(left).query_async(&mut redis).await.unwrap();
    }
}

async fn serve_at(world: &mut World, address: SocketAddr) {
    let program: Program = world.program.clone().set("http.port", &address.port().to_string());
    let process = program.start(&["serve"]);
    world.adopt(process).await;
    world.instances.last().unwrap().ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_of_sixty_buyers_buy_once_although_both_instances_are_killed() {
    if !has_python() {
        return;
    }
    // A dead instance's locks outlast the wait of repeats, which are refused as long as the locks exist.
    let plan = World::plan(0).set("redis.lock_ttl", "1m").set("redis.lock_wait", "0s");
    let mut world = plan.start().await;
    let addresses = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for address in addresses {
        serve_at(&mut world, address).await;
    }
    let sale = world.create_sale("--items 200 --stock 1 --buyer-limit 3").await;
    let [one, other] = addresses.map(|address| format!("http://{address}"));
    let items = |buyer: usize| [buyer * 3 + 1, buyer * 3 + 2].map(|item| item.to_string());

    // Every checkout and every purchase stores a key.
    let checkouts = hold(&world, "LOCK TABLE idempotency_keys IN SHARE MODE").await;
    let purchases = hold(&world, "LOCK TABLE purchases IN SHARE MODE").await;
    let mut buyers = Vec::new();
    for buyer in 0..BUYERS {
        let shops = if buyer % 2 == 0 { [&*one, &*other] } else { [&*other, &*one] }.join(",");
        let (name, [first, second]) = (format!("buyer-{buyer}"), items(buyer));
        buyers.push(start("buyer.py", &[&shops, &name, &first, &second, "--sale", &sale]));
    }
    kill_first(&mut world, &buyers, ("gate", checkouts), "409 idempotency_key_in_use").await;
    serve_at(&mut world, addresses[0]).await;
    kill_first(&mut world, &buyers, ("lock", purchases), "409 ").await;

    for (buyer, process) in buyers.into_iter().enumerate() {
        let (code, stdout, stderr) = finished(process).await;
        assert_eq!(code, Some(0), "buyer {buyer}: {stderr}");
        let purchase: Value = serde_json::from_str(&stdout).unwrap();
        let bought = purchase["items"].as_array().unwrap().iter().map(|item| {
            assert_eq!((&item["outcome"], &item["quantity"]), (&"sold".into(), &1.into()));
            item["id"].as_str().unwrap().to_owned()
        });
        assert_eq!(bought.collect::<Vec<_>>(), items(buyer), "{purchase}");
        let stored = "SELECT user_id, count(*) FROM purchase_items JOIN items USING (sale_id, item_no)
                      WHERE outcome = 'sold' AND quantity = 1 AND item_id = ANY($1) GROUP BY user_id";
        let stored: Vec<(String, i64)> = sqlx::query_as(stored)
            .bind(items(buyer).to_vec())
            .fetch_all(world.pool())
            .await
            .unwrap();
        assert_eq!(stored, [(format!("buyer-{buyer}"), 2)]);
    }
    assert_eq!(count(&world, "SELECT count(*) FROM purchases").await, 60);
    assert_eq!(count(&world, "SELECT count(*) FROM purchase_items").await, 120);
    assert_eq!(count(&world, "SELECT count(*) FROM checkout_attempts").await, 60);
    assert_eq!(count(&world, "SELECT sum(sold)::bigint FROM item_stock").await, 120);
    world.verify().await;
}
