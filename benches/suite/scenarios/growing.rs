//! What it costs the flow that PostgreSQL is behind a pooler, and that Redis is a cluster.
//!
//! Closed loop: the flow, in turn with the flow on the same PostgreSQL and a single Redis. `PgBouncer` is in session mode, over TCP; the
//! cluster has three masters. All of it is on the same cores, so both pay for the processes that are added.

use super::compared::show;
use super::flow;
use crate::environment::Environment;
use crate::further_servers::{Pooler, RedisCluster};
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::program::Program;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Shoppers;

pub(super) const POOLER: Scenario = Scenario {
    name: "pooler",
    about: "the flow through PgBouncer, against direct connections",
    run: |suite| {
        let pooler = Pooler::start(&suite.environment)?;
        let name = "flow through PgBouncer, of direct";
        compare(suite, ("pooler", name, (0.85, 0.95)), |program, database| {
            let url = format!("postgres://{}@{}/{database}", user(program)?, pooler.address);
            Ok(program.clone().variable("DATABASE_URL", &url).set("database.pooler", "session"))
        })
    },
};

pub(super) const CLUSTER: Scenario = Scenario {
    name: "cluster",
    about: "the flow with a Redis Cluster of three masters, against a single server",
    run: |suite| {
        let cluster = RedisCluster::start(&suite.environment)?;
        let name = "flow with Redis Cluster, of a single server";
        compare(suite, ("cluster", name, (0.95, 1.0)), |program, _| {
            let program = program.clone().without("REDIS_URL");
            Ok(program.set("redis.mode", "cluster").set("redis.nodes", &cluster.nodes()))
        })
    },
};

/// The user in a program's URL of PostgreSQL.
fn user(program: &Program) -> Outcome<&str> {
    let url = program.value("DATABASE_URL").split_once("://").map(|(_, rest)| rest);
    let user = url.and_then(|rest| rest.split(['@', ':']).next());
    user.ok_or_else(|| "the database's URL names no user".into())
}

/// Measures the flow with a change to the instance's environment, in turn with the flow without it.
fn compare(
    suite: &mut Suite,
    (scenario, name, (must, aim)): (&'static str, &str, (f64, f64)),
    change: impl Fn(&Program, &str) -> Outcome<Program>,
) -> Outcome<()> {
    let environment = &suite.environment;
    let (mut usual, mut changed) = (Vec::new(), Vec::new());
    for _ in 0..environment.options.runs {
        usual.push(flow::flow(environment, Topology::Service(1))?);
        changed.push(measured(environment, &change)?);
    }
    let rates = |runs: &[Measured]| runs.iter().map(Measured::rate).collect::<Vec<_>>();
    let base = median(&rates(&usual));
    let kept = rates(&changed).iter().map(|rate| rate / base.max(f64::EPSILON)).collect();
    let figure = Figure::new(scenario, name, "x", kept).at_least(must, aim);
    suite.report.figure(figure.beside(format!("base {base:.0}/s")));
    show(suite, scenario, "the usual flow", usual);
    show(suite, scenario, name, changed);
    Ok(())
}

fn measured(
    environment: &Environment,
    change: impl Fn(&Program, &str) -> Outcome<Program>,
) -> Outcome<Measured> {
    let stage = Stage::open_with(environment, Topology::Service(1), |program, database| {
        change(&program, database.name())
    })?;
    let sale = stage.sale(Terms::PLENTY)?;
    let connections = environment.options.connections.into();
    let run = environment.measure(&stage, |first_buyer| {
        Shoppers::new(&sale, flow::wants(Terms::PLENTY), first_buyer, connections)
    })?;
    stage.close(&sale)?;
    Ok(run)
}
