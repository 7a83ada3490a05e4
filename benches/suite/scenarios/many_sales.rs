//! Many sales at once on a small pool: the requests of one sale do not pay for the others.
//!
//! Four hundred open sales, an instance with ten connections. Checkouts arrive at random times, at the same rate in one sale and
//! then spread over all of them: with one, a batch has several requests; with four hundred, nearly each is a batch of its own, and
//! the lanes share the connections. The rates are two fixed ones, so that builds can be compared, and 0.8 of what a closed loop
//! over all sales has just reached, which is what the pool can do.

use std::time::Duration;

use super::compared::show;
use super::made_sales::Sales;
use crate::database::{self, Database};
use crate::environment::Environment;
use crate::generator::{Class, Plan, tally};
use crate::measure::{Loop, Measured};
use crate::outcome::Outcome;
use crate::program::Program;
use crate::report::{Figure, median};
use crate::stage::{Stage, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Checkouts;

pub(super) const MANY_SALES: Scenario = Scenario {
    name: "many_sales",
    about: "latency of checkouts over 400 sales that share 10 connections, beside one sale's",
    run: play,
};

const SALES: Sales =
    Sales { first: 1, last: 400, step: 1, items: 100, stock: 1_000_000, window: (-1, 2) };
const CONNECTIONS: &str = "10";
/// Offered checkouts a second.
const RATES: [f64; 2] = [450.0, 600.0];
/// Part of what the closed loop reaches.
const PART: f64 = 0.8;
/// Target: the median latency as a multiple of one sale's at the same rate.
const TIMES: f64 = 1.5;
/// Counted time of a run in an open loop.
const LENGTH: Duration = Duration::from_secs(10);
/// Buyers of one load; those of the next load follow them.
const BUYERS_A_LOAD: u64 = 10_000_000;

/// The loads at one rate, with one sale and with all of them.
struct Rate {
    name: String,
    offered: f64,
    one: Vec<Measured>,
    many: Vec<Measured>,
}

/// An instance among open sales.
struct Open {
    stage: Stage,
    sales: Vec<String>,
    loads: u64,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let mut open = Open::begin(&suite.environment)?;
    let closed = open.load(&suite.environment, Loop::Closed, true)?;
    let reached = closed.rate();
    let fixed = RATES.map(|rate| Rate::of(format!("{rate:.0}/s"), rate));
    let part = Rate::of(format!("{PART} of the closed loop"), reached * PART);
    let mut rates: Vec<Rate> = fixed.into_iter().chain([part]).collect();
    for _ in 0..suite.environment.options.runs {
        for rate in &mut rates {
            let offered = Loop::Open(rate.offered);
            rate.one.push(open.load(&suite.environment, offered, false)?);
            rate.many.push(open.load(&suite.environment, offered, true)?);
        }
    }
    open.stage.close_all()?;
    let reached = Figure::new("many_sales", "closed loop over all sales", "/s", vec![reached]);
    suite.report.figure(reached);
    show(suite, "many_sales", "many_sales, closed", vec![closed]);
    for rate in rates {
        rate.report(suite);
    }
    Ok(())
}

impl Open {
    fn begin(environment: &Environment) -> Outcome<Self> {
        let with_sales = |program: Program, database: &Database| {
            SALES.create(database)?;
            for statement in ["VACUUM ANALYZE items", "VACUUM ANALYZE item_stock", "CHECKPOINT"] {
                database::execute(&database.url, statement)?;
            }
            Ok(program.set("database.max_connections", CONNECTIONS))
        };
        let stage = Stage::open_with(environment, Topology::Service(1), with_sales)?;
        Ok(Self { stage, sales: SALES.ids(), loads: 0 })
    }

    /// Checkouts in all sales, or in the first one.
    fn load(&mut self, environment: &Environment, how: Loop, all: bool) -> Outcome<Measured> {
        let buyers = self.loads * BUYERS_A_LOAD;
        self.loads += 1;
        let sales = if all { &self.sales[..] } else { &self.sales[..1] };
        let plan = environment.plan(&self.stage.instances);
        let plan = match how {
            Loop::Closed => plan,
            Loop::Open(_) => Plan { measured: environment.scaled(LENGTH), ..plan },
        };
        environment.measure_with(&self.stage, &plan, how, |first_buyer| {
            Checkouts::over(sales.to_vec(), SALES.items, first_buyer + buyers)
        })
    }
}

impl Rate {
    fn of(name: String, offered: f64) -> Self {
        Self { name, offered, one: Vec::new(), many: Vec::new() }
    }

    fn report(self, suite: &mut Suite) {
        let Self { name, offered, one, many } = self;
        let each =
            |runs: &[Measured], of: fn(&Measured) -> f64| runs.iter().map(of).collect::<Vec<f64>>();
        let base = median(&each(&one, p50));
        let times: Vec<f64> = many.iter().map(|run| p50(run) / base.max(f64::EPSILON)).collect();
        let beside = format!("{:.1} ms, one sale {base:.1} ms", median(&each(&many, p50)));
        let figure = |what: &str, unit, values| {
            Figure::new("many_sales", &format!("{name}: {what}"), unit, values)
        };
        let offered = format!("{offered:.0}/s offered");
        let figures = [
            figure("p50, times one sale's", "x", times).at_most(TIMES, TIMES).beside(beside),
            figure("p99", "ms", each(&many, p99)).beside(offered.clone()),
            figure("p99 of one sale", "ms", each(&one, p99)).beside(offered.clone()),
            figure("failed, unsent, or answered 503", "", each(&many, not_served)).beside(offered),
        ];
        for figure in figures {
            suite.report.figure(figure);
        }
        show(suite, "many_sales", &format!("many_sales, {name}"), many);
        show(suite, "many_sales", &format!("one sale, {name}"), one);
    }
}

fn p50(run: &Measured) -> f64 {
    run.load.tally.served().p50
}

fn p99(run: &Measured) -> f64 {
    run.load.tally.served().p99
}

fn not_served(run: &Measured) -> f64 {
    let tally = &run.load.tally;
    tally::float(tally.count(Class::Failed) + tally.count(Class::Shed) + tally.unsent)
}
