//! One product: all buyers want a piece of the same row.
//!
//! Closed loop; each buyer collects one piece of the only item and purchases it. Measures sold pieces a second.

use super::compared::show;
use crate::environment::Environment;
use crate::generator::{Class, Kind, tally};
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::{Shoppers, Wants};

pub(super) const ONE_ROW: Scenario = Scenario {
    name: "one-row",
    about: "pieces of one product sold a second, one to a buyer",
    run: play,
};

const TERMS: Terms = Terms { items: 1, stock: 100_000, buyer_limit: 1 };

fn play(suite: &mut Suite) -> Outcome<()> {
    let runs = (0..suite.environment.options.runs)
        .map(|_| one_row(&suite.environment))
        .collect::<Outcome<Vec<_>>>()?;
    let sold = runs.iter().map(|run| {
        let sold = run.load.tally.count_of(Kind::Purchase, Class::Accepted);
        tally::float(sold) / run.load.elapsed.as_secs_f64().max(f64::EPSILON)
    });
    let figure = Figure::new("one-row", "pieces of one row sold", "/s", sold.collect());
    suite.report.figure(figure.at_least(5_000.0, 12_000.0));
    show(suite, "one-row", "one-row", runs);
    Ok(())
}

fn one_row(environment: &Environment) -> Outcome<Measured> {
    let stage = Stage::open(environment, Topology::Service(1))?;
    let sale = stage.sale(TERMS)?;
    let connections = environment.options.connections.into();
    let run = environment.measure(&stage, |first_buyer| {
        Shoppers::new(&sale, Wants::TheOne, first_buyer, connections)
    })?;
    stage.close(&sale)?;
    Ok(run)
}
