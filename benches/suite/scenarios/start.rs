//! The start of an instance until it is ready, beside an open sale of 10,000 and of 1,000,000 items.
//!
//! An instance that starts in a sale has its items in memory before it is ready. The database is warm, because another instance serves
//! the sale already.

use std::time::Instant;

use crate::environment::Environment;
use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};

pub(super) const START: Scenario = Scenario {
    name: "start",
    about: "an instance from its start until it is ready, beside sales of two sizes",
    run: play,
};

/// Targets in seconds beside the large sale, on the machine of `docs/performance.md`.
const SECONDS: f64 = 2.0;

fn play(suite: &mut Suite) -> Outcome<()> {
    for (what, items) in [("10,000 items", 10_000), ("1,000,000 items", 1_000_000)] {
        let seconds = starts(&suite.environment, Terms { items, ..Terms::PLENTY })?;
        let figure = Figure::new("start", &format!("until ready, {what}"), "s", seconds);
        suite.report.figure(figure.at_most(SECONDS, SECONDS));
    }
    Ok(())
}

/// Seconds from the start of an instance until it is ready.
fn starts(environment: &Environment, terms: Terms) -> Outcome<Vec<f64>> {
    let stage = Stage::open(environment, Topology::Service(1))?;
    stage.sale(terms)?;
    let log = environment.folder.join("start.log");
    let start = || {
        let began = Instant::now();
        let instance = Instance::start(&stage.program, "serve", &log)?;
        let seconds = began.elapsed().as_secs_f64();
        instance.stop()?;
        Ok(seconds)
    };
    (0..environment.options.runs).map(|_| start()).collect()
}
