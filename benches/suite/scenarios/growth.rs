//! The cost of a larger sale, or of a longer history, for each request: nothing, if every look-up uses a key and no statement
//! touches the partitions of other sales.
//!
//! Four stages, measured in turn: a sale of 10,000 items, one of 1,000,000, one of 10,000 after a thousand past sales of the same
//! size, and one of 10,000 beside 300 partitions of past sales. Checkouts by new buyers come first, then the purchases of their
//! codes, then the same purchases again, whose outcomes are stored; then checkouts and purchases with idempotency keys. So each
//! kind is measured alone.

use std::time::Duration;

use super::compared::show;
use super::made_sales::Sales;
use crate::database::{self, Database};
use crate::environment::Environment;
use crate::generator::Plan;
use crate::measure::{Loop, Measured};
use crate::outcome::Outcome;
use crate::program::Program;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::{Checkouts, Codes, Redeemers};

pub(super) const GROWTH: Scenario = Scenario {
    name: "growth",
    about: "rate and CPU time at 1,000,000 items, after 1,000 past sales, and beside 300 partitions",
    run: play,
};

const SMALL: Terms = Terms { buyer_limit: 10, ..Terms::PLENTY };
const LARGE: Terms = Terms { items: 1_000_000, ..SMALL };
/// Buyers of one run; those of the next run follow them.
const BUYERS_A_RUN: u64 = 10_000_000;
/// Maximum time for the purchases.
const BUYING: Duration = Duration::from_mins(1);
/// A past sale in each of 300 partitions.
const PARTITIONS: Sales =
    Sales { first: 100, last: 30_000, step: 100, items: 10, stock: 1, window: (-2, -1) };
/// Maximum number of runs, because each has twenty parts.
const RUNS: u16 = 3;
/// Targets: the rate and the CPU time as multiples of those of the small sale.
const RATE: f64 = 0.85;
const CPU: f64 = 1.15;

/// What is measured in each stage.
const KINDS: [&str; 5] =
    ["checkouts", "purchases", "repeated purchases", "keyed checkouts", "keyed purchases"];

/// One stage.
struct Grown {
    name: &'static str,
    stage: Stage,
    sale: String,
    terms: Terms,
    /// Runs of each kind.
    runs: [Vec<Measured>; KINDS.len()],
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let past_sales = Sales {
        first: 1,
        last: suite.environment.options.past_sales,
        step: 1,
        items: SMALL.items,
        ..PARTITIONS
    };
    let after = |history: Sales| {
        let create = |program: Program, database: &Database| {
            history.create(database)?;
            Ok(program)
        };
        Stage::open_with(&suite.environment, Topology::Service(1), create)
    };
    let new = || Stage::open(&suite.environment, Topology::Service(1));
    let mut all = [
        Grown::new("small", new()?, SMALL)?,
        Grown::new("1,000,000 items", new()?, LARGE)?,
        Grown::new("past sales", after(past_sales)?, SMALL)?,
        Grown::new("300 partitions", after(PARTITIONS)?, SMALL)?,
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
        for (kind, (runs, base)) in KINDS.iter().zip(grown.runs.iter().zip(&small.runs)) {
            compare(suite, grown.name, kind, (runs, base));
        }
    }
    for grown in all {
        grown.stage.close(&grown.sale)?;
        for (kind, runs) in KINDS.iter().zip(grown.runs) {
            show(suite, "growth", &format!("growth, {}: {kind}", grown.name), runs);
        }
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
        Ok(Self { name, stage, sale, terms, runs: Default::default() })
    }

    fn measure(&mut self, environment: &Environment, buyers: u64) -> Outcome<()> {
        let checkouts = |first: u64| Checkouts::of(&self.sale, self.terms.items, first + buyers);
        let (codes, keyed) = (Codes::default(), Codes::default());
        let collected =
            environment.measure(&self.stage, |first| codes.made_by(checkouts(first)))?;
        let again = codes.copied();
        let bought = self.buy(environment, || codes.redeemed())?;
        let repeated = self.buy(environment, || again.redeemed())?;
        let collected_with_keys = environment.measure(&self.stage, |first| {
            keyed.made_by(checkouts(first + BUYERS_A_RUN / 2).with_keys())
        })?;
        let bought_with_keys = self.buy(environment, || keyed.redeemed_with_keys())?;
        let runs = [collected, bought, repeated, collected_with_keys, bought_with_keys];
        for (all, run) in self.runs.iter_mut().zip(runs) {
            all.push(run);
        }
        Ok(())
    }

    /// Measures purchases until no code is left.
    fn buy(
        &self,
        environment: &Environment,
        purchases: impl Fn() -> Redeemers,
    ) -> Outcome<Measured> {
        let plan = Plan {
            warm_up: Duration::ZERO,
            measured: BUYING,
            ..environment.plan(&self.stage.instances)
        };
        // The first thread takes all codes; the others have nothing to do.
        environment.measure_with(&self.stage, &plan, Loop::Closed, |_| purchases())
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
