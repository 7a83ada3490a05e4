//! How soon an operator knows what became of one checkout, in a history of ten million.
//!
//! The history is made by plain SQL: open checkouts of as many buyers in one sale, a tenth of them with a refusal on record. Two
//! hundred checkouts are bought by requests, half of them before the history and half after it, and each is asked for by its code
//! over HTTP; some by the command, whose start is part of its time.

use std::time::Instant;

use crate::client::Client;
use crate::database;
use crate::outcome::Outcome;
use crate::program::Program;
use crate::report::{Figure, say};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const WHY: Scenario = Scenario {
    name: "why",
    about: "why for one code in a history of 10,000,000 attempts",
    run: play,
};

/// Purchases before the history, and as many after it, that are asked for.
const PURCHASES: u32 = 100;
/// Runs of the command, each of which is a process.
const COMMANDS: u32 = 20;
/// Checkouts that one statement makes.
const STEP: u64 = 1_000_000;
const TERMS: Terms = Terms { items: 1_000, stock: 1_000_000, buyer_limit: 10 };
/// Targets for p99, in milliseconds.
const MUST_MS: f64 = 50.0;
const AIM_MS: f64 = 10.0;

fn play(suite: &mut Suite) -> Outcome<()> {
    let attempts = suite.environment.options.attempts;
    let port = free_port()?.to_string();
    let admin = |program: Program, _: &database::Database| {
        Ok(program.set("auth.api_keys.secret", SECRET).set("admin.port", &port))
    };
    let stage = Stage::open_with(&suite.environment, Topology::Service(1), admin)?;
    let sale = stage.sale(TERMS)?;
    let mut codes = bought(&stage, &sale, "early")?;
    say(&format!("# why: making {attempts} checkouts"));
    history(&stage, attempts)?;
    codes.extend(bought(&stage, &sale, "late")?);

    let program = stage.program.clone().set("auth.api_keys.secret", SECRET);
    let created =
        program.run(&["key", "create", "bench", "--scopes", "read", "--output", "json"])?;
    let created: serde_json::Value = serde_json::from_str(&created)?;
    let key = created["key"].as_str().ok_or("`key create` prints no key")?;
    let address = format!("127.0.0.1:{port}").parse()?;
    let mut client = Client::connect(address)?.with_header("X-Api-Key", key);
    let mut over_http = Vec::new();
    for code in &codes {
        let start = Instant::now();
        let answer = client.get(&format!("/admin/refusals?code={code}"))?.expect(200)?;
        over_http.push(start.elapsed().as_secs_f64() * 1e3);
        if !answer.body.contains("1 of 1 lines sold") {
            return Err(format!("the answer does not tell of the purchase: {}", answer.body).into());
        }
    }
    let mut by_command = Vec::new();
    for code in codes.iter().take(usize::try_from(COMMANDS)?) {
        let start = Instant::now();
        stage.program.run(&["why", code])?;
        by_command.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let beside = format!("{attempts} attempts");
    for (what, times) in [("over HTTP, p99", over_http), ("by command, p99", by_command)] {
        let figure = Figure::new("why", what, "ms", vec![p99(times)]);
        suite.report.figure(figure.at_most(MUST_MS, AIM_MS).beside(beside.clone()));
    }
    stage.close(&sale)
}

/// For keys of this benchmark only.
const SECRET: &str = "YSBzZWNyZXQgb2YgYSBiZW5jaG1hcmsgb25seQ==";

/// A port that is free now. The service announces the port of operators only in its log.
fn free_port() -> Outcome<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// Buys an item for each of some buyers. Returns the codes.
fn bought(stage: &Stage, sale: &str, name: &str) -> Outcome<Vec<String>> {
    let (mut client, mut codes) = (stage.client()?, Vec::new());
    for buyer in 1..=PURCHASES {
        let item = buyer % TERMS.items + 1;
        let target = format!("/checkout?user_id={name}{buyer}&item_id={item}&sale_id={sale}");
        let code = client.post(&target)?.expect(200)?.field("code")?;
        client.post(&format!("/purchase?code={code}"))?.expect(200)?;
        codes.push(code);
    }
    Ok(codes)
}

/// Makes open checkouts, each of another buyer, and refusals. Their numbers are above those that the instance has reserved, and the
/// sequence goes on behind them.
fn history(stage: &Stage, attempts: u64) -> Outcome<()> {
    let execute = |statement: &str| database::execute(&stage.database.url, statement);
    let first: u64 = database::text(
        &stage.database.url,
        "SELECT (last_value + 1000000)::text FROM checkout_attempt_ids",
    )?
    .parse()?;
    let items = TERMS.items;
    let mut made = 0;
    while made < attempts {
        let last = (made + STEP).min(attempts);
        let numbers = format!("generate_series({}, {last}) AS n", made + 1);
        for statement in [
            format!(
                "INSERT INTO buyers (sale_id, user_id, open_attempt, bought, buyer_limit)
                 SELECT 1, 'h' || n, {first} + n, 0, {} FROM {numbers}",
                TERMS.buyer_limit
            ),
            format!(
                "INSERT INTO checkout_attempts (sale_id, id, user_id, created_at)
                 SELECT 1, {first} + n, 'h' || n, s.starts_at
                 FROM {numbers} CROSS JOIN (SELECT starts_at FROM sales WHERE id = 1) AS s"
            ),
            format!(
                "INSERT INTO checkout_items (sale_id, attempt_id, item_no, quantity, added_at)
                 SELECT 1, {first} + n, n % {items} + 1, 1, s.starts_at
                 FROM {numbers} CROSS JOIN (SELECT starts_at FROM sales WHERE id = 1) AS s"
            ),
            format!(
                "INSERT INTO checkout_refusals (sale_id, instance, sequence, position, operation, reason,
                                                user_id, item_id, attempt_id, refused_at, request_id)
                 SELECT 1, '00000000-0000-4000-8000-000000000001', n, 1, 'checkout', 'item_sold_out',
                        'h' || n, '1', {first} + n, clock_timestamp(), 'bench-' || n
                 FROM {numbers} WHERE n % 10 = 0"
            ),
        ] {
            execute(&statement)?;
        }
        made = last;
    }
    execute(&format!(
        "INSERT INTO refusal_totals (sale_id, operation, reason, total, detailed)
         VALUES (1, 'checkout', 'item_sold_out', {0}, {0})",
        attempts / 10
    ))?;
    execute(&format!("SELECT setval('checkout_attempt_ids', {})", first + attempts + 1_000))?;
    // So that autovacuum does not do so while the time runs.
    for table in ["buyers", "checkout_attempts", "checkout_items", "checkout_refusals"] {
        execute(&format!("VACUUM ANALYZE {table}"))?;
    }
    execute("CHECKPOINT")
}

fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}
