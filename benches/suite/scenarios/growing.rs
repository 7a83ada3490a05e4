//! What it costs the flow that PostgreSQL is behind a pooler, that Redis is a cluster, and that a hundredth of the requests is traced;
//! and what a replica takes from the primary.
//!
//! Closed loop: the flow, in turn with the flow on the same PostgreSQL and a single Redis. `PgBouncer` is in session mode, over TCP; the
//! cluster has three masters; the collector of traces is the bare server. All of it is on the same cores, so the flow pays for the
//! processes that are added. Pages of items are read from a streaming standby, in turn with the primary.

use super::compared::show;
use super::flow;
use crate::environment::Environment;
use crate::further_servers::{FurtherServer, RedisCluster};
use crate::instance::Instance;
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::program::Program;
use crate::report::{Figure, median};
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::{Readers, Shoppers};

pub(super) const POOLER: Scenario = Scenario {
    name: "pooler",
    about: "the flow through PgBouncer, against direct connections",
    run: |suite| {
        let pooler = FurtherServer::pooler(&suite.environment)?;
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

pub(super) const TRACES: Scenario = Scenario {
    name: "traces",
    about: "the flow with a hundredth of its requests traced, against none",
    run: |suite| {
        let environment = &suite.environment;
        let program = environment.program().binary(std::env::current_exe()?);
        let log = environment.folder.join("collector.log");
        let collector = Instance::start(&program, "bare", &log)?;
        let name = "flow with traces at 1 %, of without";
        compare(suite, ("traces", name, (0.94, 0.98)), |program, _| {
            let endpoint = format!("http://{}", collector.http);
            let program = program.clone().set("telemetry.otlp.endpoint", &endpoint);
            Ok(program.set("telemetry.sample_ratio", "0.01"))
        })
    },
};

pub(super) const REPLICA: Scenario = Scenario {
    name: "replica",
    about: "the primary's CPU time for pages of items, with a replica and without",
    run: play_replica,
};

/// Items of the sale whose pages are read.
const ITEMS: u32 = 10_000;
/// The part of the primary's CPU time that may be left with a replica: the lag is asked for, and the log is sent.
const LEFT: (f64, f64) = (0.05, 0.02);

fn play_replica(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let standby = FurtherServer::standby(environment)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..environment.options.runs {
        without.push(pages(environment, None)?);
        with.push(pages(environment, Some(&standby))?);
    }
    let primary = |run: &Measured| run.micros_a_request(run.cpu.postgres);
    let base = median(&without.iter().map(primary).collect::<Vec<_>>());
    let left: Vec<f64> = with.iter().map(|run| primary(run) / base.max(f64::EPSILON)).collect();
    let what = "the primary's CPU time for a page of items, of without a replica";
    let figure = Figure::new("replica", what, "x", left).at_most(LEFT.0, LEFT.1);
    suite.report.figure(figure.beside(format!("without {base:.0} µs")));
    show(suite, "replica", "pages of items from the primary", without);
    show(suite, "replica", "pages of items from a replica", with);
    Ok(())
}

/// Reads pages of items; of a standby, if there is one.
fn pages(environment: &Environment, standby: Option<&FurtherServer>) -> Outcome<Measured> {
    let stage = Stage::open_with(environment, Topology::Service(1), |program, database| {
        let Some(standby) = standby else { return Ok(program) };
        let (user, name) = (user(&program)?, database.name());
        let FurtherServer { address, parameters, .. } = standby;
        let url = format!("postgres://{user}@{address}/{name}{parameters}");
        Ok(program.set("database.replicas", &url))
    })?;
    let sale = stage.sale(Terms { items: ITEMS, stock: 1, buyer_limit: 10 })?;
    let path = format!("/v2/sales/{sale}/items");
    let run = environment.measure(&stage, |_| Readers::of(&path))?;
    stage.close_all()?;
    Ok(run)
}

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
