//! `flash-sale retention run` beside the flow: a hundred old sales leave while another one sells.
//!
//! Closed loop, on one instance: the flow before, again and again until the command has ended, and after. A machine that becomes slower
//! or faster by itself meanwhile does so before and after too. The sales have their reports; the tables of all hundred are dropped.

use std::thread;

use super::compared::show;
use super::flow;
use super::made_sales::Sales;
use crate::database;
use crate::environment::Environment;
use crate::measure::Measured;
use crate::outcome::{Failure, Outcome};
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Shoppers;

pub(super) const RETENTION: Scenario = Scenario {
    name: "retention",
    about: "the flow while a hundred old sales are archived and dropped, against before and after",
    run: play,
};

/// Old sales that share their tables.
const OLD: Sales =
    Sales { first: 100, last: 199, step: 1, items: 1_000, stock: 1_000_000, window: (-3, -2) };

fn play(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let purchases = environment.options.old_purchases;
    let stage = Stage::open(environment, Topology::Service(1))?;
    OLD.create(&stage.database)?;
    record(purchases).iter().try_for_each(|part| database::execute(&stage.database.url, part))?;
    let sale = stage.sale(Terms::PLENTY)?;
    let some = || (0..environment.options.runs).map(|_| flow_on(environment, &stage, &sale));
    let mut alone = some().collect::<Outcome<Vec<_>>>()?;
    let program = stage.program.clone().set("retention.keep", "1h");
    let command = thread::spawn(move || {
        program.run(&["retention", "run"]).map_err(|error| error.to_string())
    });
    let mut beside = Vec::new();
    while beside.is_empty() || !command.is_finished() {
        beside.push(flow_on(environment, &stage, &sale)?);
    }
    let ended = command.join().map_err(|_| Failure::from("the command has panicked"))?;
    ended.map_err(Failure::from)?;
    let left = "SELECT count(*)::text FROM purchases WHERE sale_id BETWEEN 100 AND 199";
    let left = database::text(&stage.database.url, left)?;
    if left != "0" {
        return Err(format!("{left} purchases of old sales are left").into());
    }
    alone.extend(some().collect::<Outcome<Vec<_>>>()?);
    stage.close(&sale)?;

    let rates = |runs: &[Measured]| runs.iter().map(Measured::rate).collect::<Vec<_>>();
    let base = median(&rates(&alone)).max(f64::EPSILON);
    let kept = rates(&beside).iter().map(|rate| rate / base).collect();
    let figure = Figure::new("retention", "flow while 100 old sales leave, of without", "x", kept);
    suite.report.figure(figure.at_least(0.95, 0.98).beside(format!("{purchases} purchases each")));
    let slowest =
        |runs: &[Measured]| runs.iter().map(|run| run.load.tally.served().max).fold(0.0, f64::max);
    let figure =
        Figure::new("retention", "slowest request meanwhile", "ms", vec![slowest(&beside)]);
    let without = format!("{:.1} ms without", slowest(&alone));
    suite.report.figure(figure.at_most(250.0, 100.0).beside(without));
    show(suite, "retention", "flow before and after", alone);
    show(suite, "retention", "flow while 100 old sales leave", beside);
    Ok(())
}

fn flow_on(environment: &Environment, stage: &Stage, sale: &str) -> Outcome<Measured> {
    let connections = environment.options.connections.into();
    environment.measure(stage, |first_buyer| {
        Shoppers::new(sale, flow::wants(Terms::PLENTY), first_buyer, connections)
    })
}

/// Statements that make so many purchases of each old sale, of one piece by a buyer each.
fn record(purchases: u32) -> Vec<String> {
    let rows = format!("sales AS s, generate_series(1::bigint, {purchases}) AS n");
    let insert = |table: &str, columns: &str| {
        format!("INSERT INTO {table} SELECT {columns} FROM {rows} WHERE s.id BETWEEN 100 AND 199")
    };
    let at = "s.starts_at + interval '1 minute'";
    vec![
        insert("checkout_attempts", &format!("s.id, n, 'b' || n, {at}")),
        insert("checkout_items", &format!("s.id, n, n % 1000 + 1, 1, {at}")),
        insert("purchases", &format!("s.id, n, 'b' || n, {at}, 1, 0")),
        insert("purchase_items", "s.id, n, n % 1000 + 1, 1, 'sold'"),
        format!(
            "INSERT INTO buyers (sale_id, user_id, bought, buyer_limit)
             SELECT s.id, 'b' || n, 1, 10 FROM {rows} WHERE s.id BETWEEN 100 AND 199"
        ),
        format!(
            "UPDATE item_stock SET sold = {purchases} / 1000
                 + (item_no BETWEEN 2 AND {purchases} % 1000 + 1)::int
             WHERE sale_id BETWEEN 100 AND 199"
        ),
        // Their reports were written when they ended.
        "UPDATE sales SET closed_end = ends_at WHERE id BETWEEN 100 AND 199".to_owned(),
        "VACUUM ANALYZE".to_owned(),
        "CHECKPOINT".to_owned(),
    ]
}
