//! Comparison with the baselines, and reports of loads.

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
}

impl Compared {
    /// Measures the baselines and the service in turn, and reports medians.
    pub(super) fn play(
        &self,
        suite: &mut Suite,
        once: impl Fn(&Environment, Topology) -> Outcome<Measured>,
    ) -> Outcome<()> {
        let (mut bare, mut direct, mut served) = (Vec::new(), Vec::new(), Vec::new());
        let environment = &suite.environment;
        for _ in 0..environment.options.runs {
            bare.push(environment.bare()?);
            if self.of_direct.is_some() {
                direct.push(once(environment, Topology::Direct)?);
            }
            served.push(once(environment, Topology::Service(1))?);
        }
        let (must, aim) = self.of_bare;
        self.ratio(suite, ("of bare", &served, &bare), must, aim);
        if let Some(must) = self.of_direct {
            self.ratio(suite, ("times direct", &served, &direct), must, must);
        }
        for (name, runs) in [("", served), (" direct", direct), (" bare", bare)] {
            show(suite, self.scenario, &format!("{}{name}", self.scenario), runs);
        }
        Ok(())
    }

    fn ratio(
        &self,
        suite: &mut Suite,
        (what, runs, base): (&str, &[Measured], &[Measured]),
        must: f64,
        aim: f64,
    ) {
        let rates: Vec<f64> = runs.iter().map(Measured::rate).collect();
        let base = median(&base.iter().map(Measured::rate).collect::<Vec<_>>());
        let ratios = rates.iter().map(|rate| rate / base.max(f64::EPSILON)).collect();
        let beside = format!("{:.0}/s, base {base:.0}/s", median(&rates));
        let figure = Figure::new(self.scenario, what, "x", ratios);
        suite.report.figure(figure.at_least(must, aim).beside(beside));
    }
}
