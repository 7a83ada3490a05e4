//! Three instances compared with one: the cost of sharing PostgreSQL, Redis and, on one machine, the processors.
//!
//! The flow, with the connections spread over the instances; the requests of one buyer go to different instances. More instances
//! on the same machine cannot be faster: the figure shows how little is lost.

use super::compared::show;
use super::flow;
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::report::{Figure, median};
use crate::stage::Topology;
use crate::suite::{Scenario, Suite};

pub(super) const INSTANCES: Scenario = Scenario {
    name: "instances",
    about: "throughput and p99 of three instances as parts of one's",
    run: play,
};

const MANY: usize = 3;

fn play(suite: &mut Suite) -> Outcome<()> {
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for _ in 0..suite.environment.options.runs {
        one.push(flow::flow(&suite.environment, Topology::Service(1))?);
        many.push(flow::flow(&suite.environment, Topology::Service(MANY))?);
    }
    let figure = |what, unit, of: fn(&Measured) -> f64| {
        let base = median(&one.iter().map(of).collect::<Vec<_>>());
        let values: Vec<f64> = many.iter().map(of).collect();
        let ratios = values.iter().map(|value| value / base.max(f64::EPSILON)).collect();
        let beside = format!("{:.0}{unit}, one {base:.0}{unit}", median(&values));
        Figure::new("instances", what, "x", ratios).beside(beside)
    };
    let throughput = figure("flow of three, of one", "/s", Measured::rate);
    let p99 = figure("p99 of three, of one", " ms", |run| run.load.tally.served().p99);
    suite.report.figure(throughput.at_least(0.75, 0.9));
    suite.report.figure(p99.at_most(2.0, 2.0));
    show(suite, "instances", "instances, one", one);
    show(suite, "instances", "instances, three", many);
    Ok(())
}
