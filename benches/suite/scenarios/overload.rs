//! Five times the service's capacity, for twenty seconds.
//!
//! A proxy delays PostgreSQL's replies until the flow's capacity is about 4,000 requests a second, so that the generator and the
//! processors are not the bottleneck: the database is, as in production. Then five times the capacity arrives in an open loop
//! over up to 4,096 connections, and after that the normal load.
//!
//! Requests that cannot be served must be refused at once, and the others served as usual. The figures are the accepted share, the
//! time of a 503, the growth of memory, and the time to recovery.

use std::time::Duration;

use super::flow;
use crate::environment::Environment;
use crate::generator::tally::SLICE;
use crate::generator::{Class, Load, Plan, tally};
use crate::measure::{Loop, Measured, without_failures};
use crate::outcome::Outcome;
use crate::proxy::{Proxy, Way, Ways};
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Shoppers;
use crate::usage::memory;

pub(super) const OVERLOAD: Scenario = Scenario {
    name: "overload",
    about: "five times the capacity for 20 s: what is accepted, refused, and how soon it is over",
    run: play,
};

/// Requested capacity of the slowed service in requests a second, and its tolerance.
const CAPACITY: f64 = 4_000.0;
const NEAR: f64 = 0.05;
/// The first and the maximum delay, and the number of corrections.
const FIRST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_millis(150);
const TRIES: usize = 6;
/// The offered load, as a multiple of the capacity.
const OFFERED: f64 = 5.0;
const LENGTH: Duration = Duration::from_secs(20);
const RECOVERY: Duration = Duration::from_secs(5);
/// Maximum number of requests in progress, in the overload and before it: the capacity is measured with the same connections.
const CONNECTIONS: usize = 4_096;
/// The service has recovered once it serves this part of the capacity for half a second.
const RECOVERED: f64 = 0.9;
const HALF_A_SECOND: usize = 5;
const MIB: f64 = 1_048_576.0;

/// A slowed service.
struct Slowed {
    stage: Stage,
    proxy: Proxy,
    sale: String,
    /// Number of loads so far, so that each has buyers of its own.
    loads: u64,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let mut slowed = Slowed::open(&suite.environment)?;
    let capacity = slowed.calibrate(&suite.environment)?;
    let (before, _) = slowed.resident()?;
    let long = suite.environment.scaled(LENGTH);
    let overload = slowed.load(&suite.environment, long, Loop::Open(OFFERED * capacity))?;
    let (after, peak) = slowed.resident()?;
    let recovery = slowed.load(&suite.environment, RECOVERY, Loop::Closed)?;
    slowed.stage.close(&slowed.sale)?;
    drop(slowed.proxy);

    without_failures(&overload.load.tally)?;
    without_failures(&recovery.load.tally)?;
    let goodput = accepted(&overload.load, long) / capacity;
    let figure = |what, unit, value| Figure::new("overload", what, unit, vec![value]);
    let figures = [
        figure("accepted, of capacity", "x", goodput)
            .at_least(0.85, 0.95)
            .beside(format!("capacity {capacity:.0}/s, offered {:.0}/s", OFFERED * capacity)),
        refusals(&overload.load),
        figure("p99 of what was accepted", "ms", overload.load.tally.served().p99),
        figure("memory afterwards, of before", "x", after / before)
            .at_most(1.25, 1.1)
            .beside(format!("{before:.0} MiB, then {after:.0}, at most {peak:.0}")),
        figure("0.9 of capacity again after", "s", recovered_after(&recovery.load, capacity))
            .at_most(1.0, 0.5),
    ];
    for figure in figures {
        suite.report.figure(figure);
    }
    suite.report.load("overload", &overload);
    suite.report.load("overload, afterwards", &recovery);
    Ok(())
}

impl Slowed {
    fn open(environment: &Environment) -> Outcome<Self> {
        let proxy = Proxy::before(environment.servers.postgres_address()?)?;
        let stage = Stage::open_with(environment, Topology::Service(1), |program, database| {
            Ok(program.variable("DATABASE_URL", &database.url_through(proxy.address)?))
        })?;
        let sale = stage.sale(Terms::PLENTY)?;
        Ok(Self { stage, proxy, sale, loads: 0 })
    }

    /// Finds the delay for the requested capacity. Returns the capacity that was measured with it.
    fn calibrate(&mut self, environment: &Environment) -> Outcome<f64> {
        let (mut delay, mut capacity) = (FIRST_DELAY, 0.0);
        for _ in 0..TRIES {
            self.proxy.lead(Ways { there: Way::Clear, back: Way::Delayed(delay) });
            capacity = self.load(environment, environment.options.seconds, Loop::Closed)?.rate();
            if (capacity / CAPACITY - 1.0).abs() <= NEAR {
                break;
            }
            // As long as requests mostly wait, the capacity is inversely proportional to the delay.
            delay = delay.mul_f64((capacity / CAPACITY).clamp(0.2, 5.0)).min(LONGEST_DELAY);
        }
        Ok(capacity)
    }

    fn load(
        &mut self,
        environment: &Environment,
        measured: Duration,
        how: Loop,
    ) -> Outcome<Measured> {
        // The overload and the recovery count from their beginning.
        let warm_up = if measured == environment.options.seconds {
            environment.options.warm_up
        } else {
            Duration::ZERO
        };
        let plan = Plan {
            connections: CONNECTIONS,
            warm_up,
            measured,
            ..environment.plan(&self.stage.instances)
        };
        self.loads += 1;
        let offset = self.loads * 1_000_000;
        environment.measure_with(&self.stage, &plan, how, |first_buyer| {
            let wants = flow::wants(Terms::PLENTY);
            Shoppers::new(&self.sale, wants, first_buyer + offset, CONNECTIONS)
        })
    }

    /// Resident memory in MiB: now, and its maximum so far.
    fn resident(&self) -> Outcome<(f64, f64)> {
        let instance = self.stage.instances.first().ok_or("a stage without instances")?;
        let (now, peak) = memory(instance.process())?;
        Ok((tally::float(now) / MIB, tally::float(peak) / MIB))
    }
}

/// The time of a 503, if there was one.
fn refusals(load: &Load) -> Figure {
    let (shed, count) = (load.tally.shed(), load.tally.count(Class::Shed));
    let figure = Figure::new("overload", "p99 of a 503", "ms", vec![shed.p99]);
    let unsent = load.tally.unsent;
    if count == 0 {
        // Without a 503 the target is not reached, because every request had to wait.
        return figure.beside(format!("there was none; {unsent} found all connections busy"));
    }
    let beside = format!("{count} of them, longest {:.0} ms; {unsent} unsent", shed.max);
    figure.at_most(50.0, 50.0).beside(beside)
}

/// Accepted requests a second, by when they were answered.
fn accepted(load: &Load, measured: Duration) -> f64 {
    let slices = usize::try_from(measured.as_millis() / SLICE.as_millis()).unwrap_or(usize::MAX);
    let accepted: u64 = load.tally.accepted_by_slice().iter().take(slices).sum();
    tally::float(accepted) / measured.as_secs_f64()
}

/// Seconds until the first half second with the recovered rate; infinite if there is none.
fn recovered_after(load: &Load, capacity: f64) -> f64 {
    let slices = load.tally.accepted_by_slice();
    let enough = |window: &[u64]| tally::float(window.iter().sum()) / 0.5 >= RECOVERED * capacity;
    let first = slices.windows(HALF_A_SECOND).position(enough);
    first.map_or(f64::INFINITY, |slice| {
        SLICE.as_secs_f64() * tally::float(u64::try_from(slice).unwrap_or(u64::MAX))
    })
}
