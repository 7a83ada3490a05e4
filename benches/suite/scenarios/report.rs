//! The report of a sale of a million purchases, which is read from its tables as long as the sale is open.
//!
//! The record is made by plain SQL: a million buyers with a purchase each, a fifth as many checkouts more, and a million refusals with
//! their details, over half an hour. The time is that of the command, from its start to its end.

use std::time::Instant;

use super::made_sales::Sales;
use crate::database;
use crate::outcome::Outcome;
use crate::report::{Figure, say};
use crate::stage::{Stage, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const REPORT: Scenario =
    Scenario { name: "report", about: "the report of a sale of 1,000,000 purchases", run: play };

const PURCHASES: u32 = 1_000_000;
const ITEMS: u32 = 10_000;
const SALE: Sales =
    Sales { first: 100, last: 100, step: 1, items: ITEMS, stock: 1_000, window: (-1, 1) };
/// Targets in seconds.
const MUST: f64 = 5.0;
const AIM: f64 = 2.0;

fn play(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let stage = Stage::open(environment, Topology::Service(1))?;
    SALE.create(&stage.database)?;
    say(&format!("# report: making {PURCHASES} purchases"));
    record().iter().try_for_each(|part| database::execute(&stage.database.url, part))?;
    let sale = SALE.ids().pop().ok_or("there is no sale")?;
    let report = || {
        let began = Instant::now();
        let printed = stage.program.run(&["sale", "report", &sale, "--output", "json"])?;
        let seconds = began.elapsed().as_secs_f64();
        let printed: serde_json::Value = serde_json::from_str(&printed)?;
        if printed["purchases"] != PURCHASES || printed["sold"] != PURCHASES {
            return Err("the report lacks purchases".into());
        }
        Ok(seconds)
    };
    let seconds = (0..environment.options.runs).map(|_| report()).collect::<Outcome<Vec<_>>>()?;
    let figure = Figure::new("report", "report of 1,000,000 purchases", "s", seconds);
    suite.report.figure(figure.at_most(MUST, AIM));
    stage.close(&sale)
}

fn record() -> Vec<String> {
    let at = "s.starts_at + n % 1800 * interval '1 second'";
    let insert = |table: &str, columns: &str, rows: u32| {
        format!(
            "INSERT INTO {table} SELECT {columns} FROM sales AS s, generate_series(1::bigint, {rows}) AS n WHERE s.id = 100"
        )
    };
    let checkouts = PURCHASES / 5 * 6;
    vec![
        insert("checkout_attempts", &format!("s.id, n, 'b' || n, {at}"), checkouts),
        insert("checkout_items", &format!("s.id, n, n % {ITEMS} + 1, 1, {at}"), checkouts),
        insert(
            "purchases",
            &format!("s.id, n, 'b' || n, {at}, 1, 0, ARRAY[n % {ITEMS} + 1], '{{1}}', 's'"),
            PURCHASES,
        ),
        format!(
            "INSERT INTO buyers (sale_id, user_id, open_attempt, bought, buyer_limit)
             SELECT 100, 'b' || n, CASE WHEN n > {PURCHASES} THEN n END, (n <= {PURCHASES})::int, 10
             FROM generate_series(1::bigint, {checkouts}) AS n"
        ),
        format!("UPDATE item_stock SET sold = {} WHERE sale_id = 100", PURCHASES / ITEMS),
        format!(
            "INSERT INTO checkout_refusals (sale_id, instance, sequence, position, operation, reason, user_id, refused_at)
             SELECT s.id, gen_random_uuid(), 1, 1, 'checkout', 'item_sold_out', 'b' || n, {at}
             FROM sales AS s, generate_series(1, {PURCHASES}) AS n WHERE s.id = 100"
        ),
        format!(
            "INSERT INTO refusal_totals VALUES (100, 'checkout', 'item_sold_out', {PURCHASES}, {PURCHASES})"
        ),
        "VACUUM ANALYZE".to_owned(),
        "CHECKPOINT".to_owned(),
    ]
}
