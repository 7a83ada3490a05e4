//! Comparison with the baselines, and reports of loads.

use crate::baselines::redis_only::Flush;
use crate::environment::Environment;
use crate::measure::{Measured, middle, without_failures};
use crate::outcome::Outcome;
use crate::report::{Figure, median};
use crate::stage::Topology;
use crate::suite::Suite;

/// Reports the median run of a load in which no request may fail.
pub(super) fn show(suite: &mut Suite, scenario: &str, name: &str, runs: Vec<Measured>) {
    for run in &runs {
        if let Err(failure) = without_failures(&run.load.tally) {
            suite.report.fault(scenario, &format!("{name}: {failure}"));
        }
    }
    if let Some(run) = middle(runs) {
        suite.report.load(name, &run);
    }
}

/// The comparison of a scenario's rate with baselines.
pub(super) struct Compared {
    pub(super) scenario: &'static str,
    /// Part of the bare server's rate: the target and the aim.
    pub(super) of_bare: (f64, f64),
    /// Multiple of the rate with a transaction for each request.
    pub(super) of_direct: Option<f64>,
    /// The same load on the baseline on Redis alone.
    pub(super) redis_only: Option<RedisOnly>,
}

/// A load on the baseline on Redis alone.
pub(super) type RedisOnly = fn(&Environment, Flush) -> Outcome<Measured>;

impl Compared {
    /// Measures the baselines and the service in turn, and reports medians.
    pub(super) fn play(
        &self,
        suite: &mut Suite,
        once: impl Fn(&Environment, Topology) -> Outcome<Measured>,
    ) -> Outcome<()> {
        let (mut bare, mut direct, mut served) = (Vec::new(), Vec::new(), Vec::new());
        let (mut always, mut every_second) = (Vec::new(), Vec::new());
        let environment = &suite.environment;
        for _ in 0..environment.options.runs {
            bare.push(environment.bare()?);
            if self.of_direct.is_some() {
                direct.push(once(environment, Topology::Direct)?);
            }
            if let Some(redis_only) = self.redis_only {
                always.push(redis_only(environment, Flush::Always)?);
                every_second.push(redis_only(environment, Flush::EverySecond)?);
            }
            served.push(once(environment, Topology::Service(1))?);
        }
        let (must, aim) = self.of_bare;
        self.ratio(suite, ("of bare", &served, &bare), must, aim);
        if let Some(must) = self.of_direct {
            self.ratio(suite, ("times direct", &served, &direct), must, must);
        }
        if self.redis_only.is_some() {
            self.ratio(suite, ("times redis_only, always", &served, &always), 1.0, 1.0);
            let figure = self.compared(("times redis_only, everysec", &served, &every_second));
            suite.report.figure(figure);
        }
        let redis_only = [(" redis_only, always", always), (" redis_only, everysec", every_second)];
        let loads = [("", served), (" direct", direct), (" bare", bare)];
        for (name, runs) in loads.into_iter().chain(redis_only) {
            show(suite, self.scenario, &format!("{}{name}", self.scenario), runs);
        }
        Ok(())
    }

    fn ratio(
        &self,
        suite: &mut Suite,
        compared: (&str, &[Measured], &[Measured]),
        must: f64,
        aim: f64,
    ) {
        suite.report.figure(self.compared(compared).at_least(must, aim));
    }

    fn compared(&self, (what, runs, base): (&str, &[Measured], &[Measured])) -> Figure {
        let rates: Vec<f64> = runs.iter().map(Measured::rate).collect();
        let base = median(&base.iter().map(Measured::rate).collect::<Vec<_>>());
        let ratios = rates.iter().map(|rate| rate / base.max(f64::EPSILON)).collect();
        let beside = format!("{:.0}/s, base {base:.0}/s", median(&rates));
        Figure::new(self.scenario, what, "x", ratios).beside(beside)
    }
}
