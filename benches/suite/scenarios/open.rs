//! Latency at half of the service's throughput.
//!
//! The flow in an open loop: requests arrive at random times, at half the rate that the closed loop has just reached, and their
//! latency counts from when they were due. No request may fail or stay unsent.
//!
//! Meanwhile, flushes of the disk are timed: every commit waits during a long one, so the slowest of a thousand requests are those
//! during the longest flushes.

use std::time::Duration;

use super::compared::show;
use super::flow;
use crate::baselines::floor::disk::Watch;
use crate::environment::Environment;
use crate::generator::{Class, Plan, tally};
use crate::measure::{Loop, Measured};
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Shoppers;

pub(super) const OPEN: Scenario = Scenario {
    name: "open",
    about: "latency of the flow at half of its closed-loop rate, in an open loop",
    run: play,
};

/// Counted time of a run. Rare latencies need many requests; and PostgreSQL's autovacuum visits a database once a minute, first
/// soon after its creation: in a shorter run it would have a larger share than in a sale.
const LENGTH: Duration = Duration::from_mins(1);

fn play(suite: &mut Suite) -> Outcome<()> {
    let half = flow::flow(&suite.environment, Topology::Service(1))?.rate() / 2.0;
    let runs = (0..suite.environment.options.runs).map(|_| open(&suite.environment, half));
    let (runs, flushes): (Vec<_>, Vec<_>) = runs.collect::<Outcome<Vec<_>>>()?.into_iter().unzip();
    let beside = format!("{half:.0}/s offered");
    let each = |of: fn(&Measured) -> f64| runs.iter().map(of).collect::<Vec<_>>();
    let figures = [
        Figure::new("open", "p99", "ms", each(|run| run.load.tally.served().p99))
            .at_most(10.0, 5.0),
        Figure::new("open", "p99.9", "ms", each(|run| run.load.tally.served().p999))
            .at_most(50.0, 50.0),
        Figure::new("open", "failed, or answered 503", "", each(not_served)).at_most(0.0, 0.0),
        Figure::new("open", "unsent", "", each(|run| tally::float(run.load.tally.unsent)))
            .at_most(0.0, 0.0),
        Figure::new("open", "longest flush of the disk", "ms", flushes),
    ];
    for figure in figures {
        suite.report.figure(figure.beside(beside.clone()));
    }
    show(suite, "open", "open", runs);
    Ok(())
}

fn not_served(run: &Measured) -> f64 {
    tally::float(run.load.tally.count(Class::Failed) + run.load.tally.count(Class::Shed))
}

/// A run, and the longest flush of the disk in it, in milliseconds.
fn open(environment: &Environment, a_second: f64) -> Outcome<(Measured, f64)> {
    let stage = Stage::open(environment, Topology::Service(1))?;
    let sale = stage.sale(Terms::PLENTY)?;
    let plan = Plan { measured: environment.scaled(LENGTH), ..environment.plan(&stage.instances) };
    let disk = Watch::begin(&environment.servers.folder()?)?;
    let run = environment.measure_with(&stage, &plan, Loop::Open(a_second), |first_buyer| {
        Shoppers::new(&sale, flow::wants(Terms::PLENTY), first_buyer, plan.connections)
    })?;
    let longest = disk.end()?;
    stage.close(&sale)?;
    Ok((run, longest.as_secs_f64() * 1e3))
}
