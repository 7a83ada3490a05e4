//! Ten thousand unique items, ten thousand buyers, 64 connections: how long until all are sold, each once.
//!
//! Each buyer collects the item with the buyer's number and purchases it. The time is that from the first request to the last
//! response to a purchase. Then every item must be sold, once.

use std::time::Duration;

use super::compared::show;
use crate::environment::Environment;
use crate::generator::Plan;
use crate::measure::{self, Loop, Measured};
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::{Shoppers, Wants};

pub(super) const RUSH: Scenario = Scenario {
    name: "rush",
    about: "seconds until 10,000 unique items are sold over 64 connections",
    run: play,
};

const ITEMS: u32 = 10_000;
const CONNECTIONS: usize = 64;
/// Maximum time of a run.
const LONGEST: Duration = Duration::from_mins(1);

fn play(suite: &mut Suite) -> Outcome<()> {
    let runs = (0..suite.environment.options.runs)
        .map(|_| rush(&suite.environment))
        .collect::<Outcome<Vec<_>>>()?;
    let seconds = runs.iter().map(|run| run.load.elapsed.as_secs_f64()).collect();
    let figure = Figure::new("rush", "10,000 unique items are sold in", "s", seconds);
    suite.report.figure(figure.at_most(1.3, 0.8));
    show(suite, "rush", "rush", runs);
    Ok(())
}

fn rush(environment: &Environment) -> Outcome<Measured> {
    let stage = Stage::open(environment, Topology::Service(1))?;
    let sale = stage.sale(Terms { items: ITEMS, stock: 1, buyer_limit: 10 })?;
    let plan = Plan {
        connections: CONNECTIONS,
        warm_up: Duration::ZERO,
        measured: LONGEST,
        ..environment.plan(&stage.instances)
    };
    let shoppers = Shoppers::new(&sale, Wants::Own { items: ITEMS.into() }, 1, CONNECTIONS);
    // One thread, because each item has one buyer.
    let run = measure::run(&plan, stage.processes(), Loop::Closed, vec![Box::new(shoppers)])?;
    let sold = stage.sold(&sale)?;
    if sold != u64::from(ITEMS) {
        return Err(format!("{sold} pieces are sold, not {ITEMS}").into());
    }
    stage.close(&sale)?;
    Ok(run)
}
