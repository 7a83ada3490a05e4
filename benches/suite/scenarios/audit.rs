//! `flash-sale verify` over a long record: 1,050,000 purchases with 3.2 million lines, which are as many collected as settled lines.
//!
//! The record is made by plain SQL, as buyers would have left it: rows of neighbouring checkouts lie near each other, and the items of
//! a checkout anywhere. The time is that of the whole command. It runs on one connection while others work in the database, and on two
//! otherwise, as here.

use std::time::Instant;

use super::made_sales::Sales;
use crate::database;
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const AUDIT: Scenario =
    Scenario { name: "audit", about: "`flash-sale verify` over 1,050,000 purchases", run: play };

/// Purchases of each sale, by a third as many buyers.
const PURCHASES: u32 = 105_000;
const SALES: Sales =
    Sales { first: 1, last: 10, step: 1, items: 10_000, stock: 1_000_000, window: (-1, 24) };
/// Targets in seconds, on the machine of `docs/performance.md`.
const SECONDS: (f64, f64) = (6.5, 4.0);

fn play(suite: &mut Suite) -> Outcome<()> {
    let stage = Stage::open(&suite.environment, Topology::Service(0))?;
    SALES.create(&stage.database)?;
    record().iter().try_for_each(|part| database::execute(&stage.database.url, part))?;
    let mut seconds = Vec::new();
    for _ in 0..suite.environment.options.runs {
        let start = Instant::now();
        stage.program.run(&["verify"])?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let (must, aim) = SECONDS;
    let figure = Figure::new("audit", "verify, 1,050,000 purchases", "s", seconds);
    suite.report.figure(figure.at_most(must, aim));
    Ok(())
}

/// Statements that make the record. Each line has one piece; a checkout has one to five lines.
fn record() -> Vec<String> {
    let chance = |of: &str| format!("(hashint8({of})::bigint & 2147483647)");
    let lines = chance("attempt * 7 + 3");
    let item = chance("attempt * 10 + line");
    let buyer = chance("attempt");
    // Batches write neighbours together, in no order.
    let order = "sale_id, attempt_id + random() * 300";
    let insert = |table: &str, columns: &str, from: &str| {
        format!("INSERT INTO {table} SELECT {columns} FROM {from} ORDER BY {order}")
    };
    let settled = "(SELECT sale_id, attempt_id, user_id, count(*) AS lines, array_agg(item_no ORDER BY item_no) AS item_nos
                    FROM made_lines JOIN made USING (sale_id, attempt_id) GROUP BY 1, 2, 3) AS s";
    let outcome =
        "sale_id, attempt_id, user_id, now(), lines, 0, item_nos, array_fill(1, ARRAY[lines::int]),
                   repeat('s', lines::int)";
    vec![
        format!(
            "CREATE UNLOGGED TABLE made AS
             SELECT id AS sale_id, attempt AS attempt_id, 'b' || {buyer} % ({PURCHASES} / 3) AS user_id
             FROM sales, generate_series(1::bigint, {PURCHASES}) AS attempt"
        ),
        format!(
            "CREATE UNLOGGED TABLE made_lines AS
             SELECT DISTINCT id AS sale_id, attempt AS attempt_id, {item} % items + 1 AS item_no
             FROM sales, generate_series(1::bigint, {PURCHASES}) AS attempt, generate_series(1, 5) AS line
             WHERE line <= {lines} % 5 + 1"
        ),
        insert("checkout_attempts", "sale_id, attempt_id, user_id, now()", "made"),
        insert("checkout_items", "sale_id, attempt_id, item_no, 1, now()", "made_lines"),
        insert("purchases", outcome, settled),
        "UPDATE item_stock AS i SET sold = s.lines
         FROM (SELECT sale_id, item_no, count(*) AS lines FROM made_lines GROUP BY 1, 2) AS s
         WHERE i.sale_id = s.sale_id AND i.item_no = s.item_no"
            .to_owned(),
        "UPDATE sales SET buyer_limit = 1000000".to_owned(),
        "INSERT INTO buyers (sale_id, user_id, bought, buyer_limit)
         SELECT sale_id, user_id, sum(total_purchased), 1000000 FROM purchases GROUP BY 1, 2
         ORDER BY random()"
            .to_owned(),
        "DROP TABLE made, made_lines".to_owned(),
        "VACUUM".to_owned(),
    ]
}
