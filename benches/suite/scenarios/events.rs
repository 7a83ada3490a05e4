//! What events cost the flow, and how fast they arrive.
//!
//! The flow with the stream and one webhook on, in turn with the flow with both off, and then in an open loop at half of its rate,
//! where the instance measures each event from its commit to its delivery. The endpoint is the bare server, which answers at once on
//! the same two cores.

use super::compared::show;
use super::flow;
use crate::environment::Environment;
use crate::generator::Plan;
use crate::instance::Instance;
use crate::measure::{Loop, Measured};
use crate::outcome::Outcome;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Shoppers;

pub(super) const EVENTS: Scenario = Scenario {
    name: "events",
    about: "the flow with events on, against off; from the commit to the delivery at half of its rate",
    run: play,
};

/// The histogram of deliveries.
const DELIVERED: &str = "flash_sale_event_delivery_seconds";
/// The sinks, as labels.
const SINKS: [(&str, &str); 2] = [("stream", r#"sink="stream""#), ("webhook", r#"sink="webhook""#)];

fn play(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for _ in 0..environment.options.runs {
        off.push(flow::flow(environment, Topology::Service(1))?);
        on.push(listening(environment, Loop::Closed)?.0);
    }
    let half = median(&rates(&on)) / 2.0;
    let (run, latest) = listening(environment, Loop::Open(half))?;
    let base = median(&rates(&off));
    let kept = rates(&on).iter().map(|rate| rate / base.max(f64::EPSILON)).collect();
    let kept = Figure::new("events", "flow with stream and webhook, of without", "x", kept);
    suite.report.figure(kept.at_least(0.92, 0.97).beside(format!("without {base:.0}/s")));
    for ((sink, _), latest) in SINKS.iter().zip(latest) {
        let name = format!("commit to delivery, {sink}, p99 below");
        let figure = Figure::new("events", &name, "ms", vec![latest]).at_most(300.0, 100.0);
        suite.report.figure(figure.beside(format!("{half:.0}/s offered")));
    }
    show(suite, "events", "flow without events", off);
    show(suite, "events", "flow with events", on);
    show(suite, "events", "open loop with events", vec![run]);
    Ok(())
}

fn rates(runs: &[Measured]) -> Vec<f64> {
    runs.iter().map(Measured::rate).collect()
}

/// The flow with both sinks on, and the 99th percentile of deliveries to each, in milliseconds.
fn listening(environment: &Environment, how: Loop) -> Outcome<(Measured, Vec<f64>)> {
    let program = environment.program().binary(std::env::current_exe()?);
    let endpoint = Instance::start(&program, "bare", &environment.folder.join("endpoint.log"))?;
    let stage = Stage::open_with(environment, Topology::Service(1), |program, _| {
        let program =
            program.set("events.stream.enabled", "true").set("webhooks.allow_private", "true");
        program.run(&["webhook", "add", &format!("http://{}/", endpoint.http)])?;
        Ok(program)
    })?;
    let sale = stage.sale(Terms::PLENTY)?;
    let plan: Plan = environment.plan(&stage.instances);
    let run = environment.measure_with(&stage, &plan, how, |first_buyer| {
        Shoppers::new(&sale, flow::wants(Terms::PLENTY), first_buyer, plan.connections)
    })?;
    let instance = stage.instances.first().ok_or("a stage without instances")?;
    let latest = SINKS.iter().map(|(_, sink)| instance.percentile(DELIVERED, sink, 0.99));
    let latest = latest.collect::<Outcome<Vec<_>>>()?;
    stage.close(&sale)?;
    Ok((run, latest.into_iter().map(|seconds| seconds * 1e3).collect()))
}
