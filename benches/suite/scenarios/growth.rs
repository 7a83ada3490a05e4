//! The cost of a larger sale, or of a longer history, for each request: nothing, if every look-up uses a key.
//!
//! Three stages, measured in turn: a sale of 10,000 items, one of 1,000,000, and one of 10,000 after a thousand past sales of the
//! same size. Checkouts by new buyers come first, then the purchases of their codes, so that each kind is measured alone.

use std::time::Duration;

use super::compared::show;
use crate::database::{self, Database};
use crate::environment::Environment;
use crate::generator::Plan;
use crate::measure::{Loop, Measured};
use crate::outcome::Outcome;
use crate::program::Program;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::{Checkouts, Codes};

pub(super) const GROWTH: Scenario = Scenario {
    name: "growth",
    about: "rate and CPU time at 1,000,000 items, and after 1,000 past sales",
    run: play,
};

const SMALL: Terms = Terms { buyer_limit: 10, ..Terms::PLENTY };
const LARGE: Terms = Terms { items: 1_000_000, ..SMALL };
/// Buyers of one run; those of the next run follow them.
const BUYERS_A_RUN: u64 = 10_000_000;
/// Maximum time for the purchases.
const BUYING: Duration = Duration::from_mins(1);
/// Maximum number of runs, because each has six parts.
const RUNS: u16 = 3;
/// Targets: the rate and the CPU time as multiples of those of the small sale.
const RATE: f64 = 0.85;
const CPU: f64 = 1.15;

/// Digits of a sale's number, in order of value.
const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// One stage.
struct Grown {
    name: &'static str,
    stage: Stage,
    sale: String,
    terms: Terms,
    checkouts: Vec<Measured>,
    purchases: Vec<Measured>,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let past_sales = suite.environment.options.past_sales;
    let history = |program: Program, database: &Database| {
        create_past_sales(database, past_sales)?;
        Ok(program)
    };
    let with_history = Stage::open_with(&suite.environment, Topology::Service(1), history)?;
    let mut all = [
        Grown::new("small", Stage::open(&suite.environment, Topology::Service(1))?, SMALL)?,
        Grown::new(
            "1,000,000 items",
            Stage::open(&suite.environment, Topology::Service(1))?,
            LARGE,
        )?,
        Grown::new("past sales", with_history, SMALL)?,
    ];
    for run in 0..usize::from(suite.environment.options.runs.min(RUNS)) {
        for place in 0..all.len() {
            // Each run begins with another stage, so that none always has the quietest server.
            let grown = &mut all[(run + place) % all.len()];
            grown.measure(&suite.environment, u64::try_from(run)? * BUYERS_A_RUN)?;
        }
    }
    let [small, larger @ ..] = &all;
    for grown in larger {
        compare(suite, grown.name, "checkouts", (&grown.checkouts, &small.checkouts));
        compare(suite, grown.name, "purchases", (&grown.purchases, &small.purchases));
    }
    for grown in all {
        grown.stage.close(&grown.sale)?;
        show(suite, "growth", &format!("growth, {}: checkouts", grown.name), grown.checkouts);
        show(suite, "growth", &format!("growth, {}: purchases", grown.name), grown.purchases);
    }
    Ok(())
}

impl Grown {
    fn new(name: &'static str, stage: Stage, terms: Terms) -> Outcome<Self> {
        let sale = stage.sale(terms)?;
        // Otherwise autovacuum would do so soon after millions of inserts, in the middle of a measurement.
        for statement in ["VACUUM ANALYZE items", "VACUUM ANALYZE item_stock", "CHECKPOINT"] {
            database::execute(&stage.database.url, statement)?;
        }
        Ok(Self { name, stage, sale, terms, checkouts: Vec::new(), purchases: Vec::new() })
    }

    fn measure(&mut self, environment: &Environment, offset: u64) -> Outcome<()> {
        let codes = Codes::default();
        self.checkouts.push(environment.measure(&self.stage, |first_buyer| {
            codes.made_by(Checkouts::of(&self.sale, self.terms.items, first_buyer + offset))
        })?);
        let plan = Plan {
            warm_up: Duration::ZERO,
            measured: BUYING,
            ..environment.plan(&self.stage.instances)
        };
        // The first thread takes all codes; the others have nothing to do.
        self.purchases.push(
            environment.measure_with(&self.stage, &plan, Loop::Closed, |_| codes.redeemed())?,
        );
        Ok(())
    }
}

fn compare(suite: &mut Suite, name: &str, kind: &str, (runs, base): (&[Measured], &[Measured])) {
    let figure = |what: &str, of: fn(&Measured) -> f64| {
        let base = median(&base.iter().map(of).collect::<Vec<_>>());
        let values: Vec<f64> = runs.iter().map(of).collect();
        let ratios = values.iter().map(|value| value / base.max(f64::EPSILON)).collect();
        let beside = format!("{:.0}, base {base:.0}", median(&values));
        Figure::new("growth", &format!("{name}: {kind}, {what}"), "x", ratios).beside(beside)
    };
    let rate = figure("rate", Measured::rate).at_least(RATE, RATE);
    let cpu = figure("CPU µs", |run| {
        run.micros_a_request(run.cpu.service + run.cpu.postgres + run.cpu.redis)
    });
    suite.report.figure(rate);
    suite.report.figure(cpu.at_most(CPU, CPU));
}

/// Creates past sales of 10,000 items each, by plain SQL.
fn create_past_sales(database: &Database, sales: u32) -> Outcome<()> {
    // In Crockford's base 32, like the service.
    let digit = |value: u32| format!("substr('{DIGITS}', sale / {value} % 32 + 1, 1)");
    let public_id =
        format!("'S-' || ltrim({} || {} || {}, '0')", digit(1_024), digit(32), digit(1));
    let statements = [
        format!("SELECT setval('sale_ids', {sales})"),
        format!(
            "SELECT ensure_partitions(sale) FROM generate_series(1, {sales}) AS sale
             WHERE sale % 100 IN (0, 1)"
        ),
        format!(
            "INSERT INTO sales (id, public_id, name, starts_at, ends_at, buyer_limit, items)
             SELECT sale, {public_id}, 'Past sale ' || sale, now() - interval '2 h',
                    now() - interval '1 h', 10, 10000
             FROM generate_series(1, {sales}) AS sale"
        ),
        format!(
            "INSERT INTO items (sale_id, item_no, item_id, name, image_url)
             SELECT sale, item, item::text, 'Item ' || item,
                    'https://images.example.com/items/' || item || '.jpg'
             FROM generate_series(1, {sales}) AS sale, generate_series(1, 10000) AS item"
        ),
        format!(
            "INSERT INTO item_stock (sale_id, item_no, stock)
             SELECT sale, item, 1
             FROM generate_series(1, {sales}) AS sale, generate_series(1, 10000) AS item"
        ),
    ];
    statements.iter().try_for_each(|statement| database::execute(&database.url, statement))
}
