//! Resident memory of an instance.
//!
//! Idle after the start; while 1,024 connections run the flow (its highest); and what a sale of a million items adds, as
//! soon as it is known and sold from. The last is the difference between two instances that did the same with a sale of
//! 10,000 and with one of 1,000,000 items: what the load itself needs is not charged to the sale.

use std::time::Duration;

use super::{Scenario, flow, show};
use crate::Outcome;
use crate::generator::{Plan, tally};
use crate::measure::{Loop, Measured};
use crate::report::Figure;
use crate::stage::{Cast, Stage, Terms};
use crate::suite::Suite;
use crate::traffic::{Checkouts, Shoppers};
use crate::usage::memory;

pub(super) const MEMORY: Scenario = Scenario {
    name: "memory",
    about: "resident memory: idle, at 1,024 connections, with a million items",
    run: play,
};

const CONNECTIONS: usize = 1_024;
const MIB: f64 = 1_048_576.0;
/// An instance that has just started is idle after this time.
const REST: Duration = Duration::from_secs(2);
const SMALL: Terms = Terms { items: 10_000, ..Terms::PLENTY };
const LARGE: Terms = Terms { items: 1_000_000, ..Terms::PLENTY };

fn play(suite: &mut Suite) -> Outcome<()> {
    let stage = Stage::open(suite, Cast::Service(1))?;
    std::thread::sleep(REST);
    let idle = resident(&stage)?;
    suite.report.figure(Figure::new("memory", "idle", "MiB", vec![idle.0]).at_most(40.0, 40.0));

    let sale = stage.sale(SMALL)?;
    let plan = Plan { connections: CONNECTIONS, ..suite.plan(&stage.instances) };
    let run = suite.measure_with(&stage, &plan, Loop::Closed, |first_buyer| {
        Shoppers::new(&sale, flow::wants(SMALL), first_buyer, CONNECTIONS)
    })?;
    let busy = resident(&stage)?;
    let figure =
        Figure::new("memory", "highest in the flow, 1,024 connections", "MiB", vec![busy.1]);
    suite.report.figure(figure.at_most(150.0, 150.0).beside(format!("{:.0} afterwards", busy.0)));
    show(suite, "memory", "memory, flow", vec![run]);
    stage.close(&sale)?;

    let (small, large) = (sold_from(suite, SMALL)?, sold_from(suite, LARGE)?);
    let grows = Figure::new("memory", "a sale of 1,000,000 items adds", "MiB", vec![large - small]);
    suite.report.figure(grows.at_most(96.0, 96.0).beside(format!("{large:.0} with it")));
    Ok(())
}

/// Resident memory after a sale was known and sold from.
fn sold_from(suite: &Suite, terms: Terms) -> Outcome<f64> {
    let stage = Stage::open(suite, Cast::Service(1))?;
    let sale = stage.sale(terms)?;
    let checkouts = |first_buyer| Checkouts::of(&sale, terms.items, first_buyer);
    let _: Measured = suite.measure(&stage, checkouts)?;
    std::thread::sleep(REST);
    let (now, _) = resident(&stage)?;
    stage.close(&sale)?;
    Ok(now)
}

/// In MiB: now, and at its highest.
fn resident(stage: &Stage) -> Outcome<(f64, f64)> {
    let instance = stage.instances.first().ok_or("a stage without instances")?;
    let (now, peak) = memory(instance.process())?;
    Ok((tally::float(now) / MIB, tally::float(peak) / MIB))
}
