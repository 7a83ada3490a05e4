//! Resident memory of an instance.
//!
//! Idle after the start; the maximum while 1,024 connections run the flow; and the memory that a sale of a million items adds,
//! once it is loaded and sold from. The last is the difference between two instances with the same load, of sales of 10,000 and
//! of 1,000,000 items, so that the memory for the load does not count.

use std::time::Duration;

use super::compared::show;
use super::flow;
use crate::environment::Environment;
use crate::generator::{Plan, tally};
use crate::measure::{Loop, Measured};
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::{Checkouts, Shoppers};
use crate::usage::memory;

pub(super) const MEMORY: Scenario = Scenario {
    name: "memory",
    about: "resident memory: idle, at 1,024 connections, with a million items",
    run: play,
};

const CONNECTIONS: usize = 1_024;
const MIB: f64 = 1_048_576.0;
/// An instance is idle this long after its start or its load.
const REST: Duration = Duration::from_secs(2);
const SMALL: Terms = Terms { items: 10_000, ..Terms::PLENTY };
const LARGE: Terms = Terms { items: 1_000_000, ..Terms::PLENTY };

fn play(suite: &mut Suite) -> Outcome<()> {
    let stage = Stage::open(&suite.environment, Topology::Service(1))?;
    std::thread::sleep(REST);
    let idle = resident(&stage)?;
    suite.report.figure(Figure::new("memory", "idle", "MiB", vec![idle.0]).at_most(40.0, 40.0));

    let sale = stage.sale(SMALL)?;
    let plan = Plan { connections: CONNECTIONS, ..suite.environment.plan(&stage.instances) };
    let run = suite.environment.measure_with(&stage, &plan, Loop::Closed, |first_buyer| {
        Shoppers::new(&sale, flow::wants(SMALL), first_buyer, CONNECTIONS)
    })?;
    let busy = resident(&stage)?;
    let figure =
        Figure::new("memory", "highest in the flow, 1,024 connections", "MiB", vec![busy.1]);
    suite.report.figure(figure.at_most(150.0, 150.0).beside(format!("{:.0} afterwards", busy.0)));
    show(suite, "memory", "memory, flow", vec![run]);
    stage.close(&sale)?;

    let (small, large) =
        (sold_from(&suite.environment, SMALL)?, sold_from(&suite.environment, LARGE)?);
    let grows = Figure::new("memory", "a sale of 1,000,000 items adds", "MiB", vec![large - small]);
    suite.report.figure(grows.at_most(96.0, 96.0).beside(format!("{large:.0} with it")));
    Ok(())
}

/// Resident memory after load on a sale of this size.
fn sold_from(environment: &Environment, terms: Terms) -> Outcome<f64> {
    let stage = Stage::open(environment, Topology::Service(1))?;
    let sale = stage.sale(terms)?;
    let checkouts = |first_buyer| Checkouts::of(&sale, terms.items, first_buyer);
    let _: Measured = environment.measure(&stage, checkouts)?;
    std::thread::sleep(REST);
    let (now, _) = resident(&stage)?;
    stage.close(&sale)?;
    Ok(now)
}

/// Resident memory in MiB: now, and its maximum so far.
fn resident(stage: &Stage) -> Outcome<(f64, f64)> {
    let instance = stage.instances.first().ok_or("a stage without instances")?;
    let (now, peak) = memory(instance.process())?;
    Ok((tally::float(now) / MIB, tally::float(peak) / MIB))
}
