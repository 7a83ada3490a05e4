//! A million events that wait for an endpoint which was paused: the memory of the worker that delivers them, the flow meanwhile, and
//! deliveries a second against a loop of the same client that signs and sends one event over and over.
//!
//! The flow writes some events; their rows are copied until there are a million. Then the flow is measured without deliveries and with
//! them, each time after a checkpoint, because the first change of a page after one is written in full. The endpoint is the bare server,
//! on the same cores.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::compared::show;
use super::flow;
use crate::database;
use crate::environment::Environment;
use crate::generator::tally;
use crate::instance::Instance;
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Shoppers;
use crate::usage::memory;

pub(super) const BACKLOG: Scenario = Scenario {
    name: "backlog",
    about: "a million events for a webhook that was away: memory, the flow meanwhile, deliveries a second",
    run: play,
};

const EVENTS: &str = "1000000";
/// Tries at a time.
const CONCURRENCY: usize = 64;
const MIB: f64 = 1_048_576.0;
/// How long deliveries are counted while nothing else happens.
const COUNTED: Duration = Duration::from_secs(5);
/// After a rush deliveries rest for half a second at the most.
const RUSH_ENDS: Duration = Duration::from_secs(1);
const START_TIMEOUT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(50);
const DELIVERIES: &str = "flash_sale_webhook_deliveries_total";
const DELIVERED: &str = r#"outcome="delivered""#;

fn play(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let program = environment.program().binary(std::env::current_exe()?);
    let endpoint = Instance::start(&program, "bare", &environment.folder.join("endpoint.log"))?;
    let url = format!("http://{}/", endpoint.http);
    let loop_rate = flash_sale::bench::webhook_loop(&url, CONCURRENCY, COUNTED)?;
    let stage = Stage::open_with(environment, Topology::Service(1), |program, _| {
        Ok(program.set("jobs.enabled", "false"))
    })?;
    let sale = stage.sale(Terms::PLENTY)?;
    let delivering = stage
        .program
        .clone()
        .set("webhooks.allow_private", "true")
        .set("webhooks.concurrency", &CONCURRENCY.to_string());
    let added: Value = serde_json::from_str(&delivering.run(&["webhook", "add", &url])?)?;
    let webhook = added["id"].as_str().ok_or("`webhook add` names no id")?;
    delivering.run(&["webhook", "pause", webhook])?;
    flow_on(environment, &stage, &sale)?;
    fill(&stage)?;

    let worker = Instance::start(&delivering, "worker", &environment.folder.join("worker.log"))?;
    std::thread::sleep(COUNTED);
    let idle = memory(worker.process())?.0;
    let before = after_checkpoint(environment, &stage, &sale)?;
    delivering.run(&["webhook", "resume", webhook])?;
    until_delivering(&worker)?;
    let meanwhile = after_checkpoint(environment, &stage, &sale)?;
    std::thread::sleep(RUSH_ENDS);
    let first = worker.metric(DELIVERIES, DELIVERED)?;
    std::thread::sleep(COUNTED);
    let rate = (worker.metric(DELIVERIES, DELIVERED)? - first) / COUNTED.as_secs_f64();
    let peak = memory(worker.process())?.1;
    worker.stop()?;
    stage.close(&sale)?;

    let grows = tally::float(peak.saturating_sub(idle)) / MIB;
    let figure = Figure::new("backlog", "memory of the worker", "MiB", vec![grows]);
    suite.report.figure(figure.at_most(32.0, 32.0).beside(format!("{EVENTS} events")));
    let kept = meanwhile.rate() / before.rate().max(f64::EPSILON);
    let figure =
        Figure::new("backlog", "flow while they are delivered, of without", "x", vec![kept]);
    suite.report.figure(figure.at_least(0.9, 0.95));
    let figure =
        Figure::new("backlog", "deliveries a second, of a loop", "x", vec![rate / loop_rate]);
    let beside = format!("{rate:.0}/s, loop {loop_rate:.0}/s");
    suite.report.figure(figure.at_least(0.5, 0.8).beside(beside));
    show(suite, "backlog", "flow before the backlog", vec![before]);
    show(suite, "backlog", "flow during the backlog", vec![meanwhile]);
    Ok(())
}

fn flow_on(environment: &Environment, stage: &Stage, sale: &str) -> Outcome<Measured> {
    let connections = environment.options.connections.into();
    environment.measure(stage, |first_buyer| {
        Shoppers::new(sale, flow::wants(Terms::PLENTY), first_buyer, connections)
    })
}

/// Copies the waiting events until there are enough.
fn fill(stage: &Stage) -> Outcome<()> {
    let events = "sum(cardinality(attempts) + cardinality(items))";
    let statement = format!(
        "INSERT INTO outbox (sale_id, kind, attempts, items)
         SELECT sale_id, kind, attempts, items FROM outbox,
             generate_series(1, (SELECT {EVENTS} / {events} FROM outbox WHERE kind = 'settled'))
         WHERE kind = 'settled'"
    );
    database::execute(&stage.database.url, &statement)
}

fn after_checkpoint(environment: &Environment, stage: &Stage, sale: &str) -> Outcome<Measured> {
    database::execute(&stage.database.url, "CHECKPOINT")?;
    flow_on(environment, stage, sale)
}

fn until_delivering(worker: &Instance) -> Outcome<()> {
    let end = Instant::now() + START_TIMEOUT;
    while worker.metric(DELIVERIES, DELIVERED)? < 1.0 {
        if Instant::now() > end {
            return Err("nothing is delivered".into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
