//! One file a figure (or a few that share their set-up).

mod board;
mod checkout;
mod floor;
mod flow;
mod growth;
mod instances;
mod lists;
mod memory;
mod one_row;
mod open;
mod overload;
mod quiet;
mod refusal;
mod rush;

use crate::Outcome;
use crate::measure::{Measured, middle, without_failures};
use crate::report::{Figure, median};
use crate::stage::Cast;
use crate::suite::Suite;

/// Something to measure.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What it measures, in a sentence.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Suite) -> Outcome<()>,
}

/// In the order in which they run.
pub(crate) const ALL: &[Scenario] = &[
    refusal::ITEM,
    refusal::SALE,
    refusal::ENDED,
    refusal::FORGED,
    checkout::CHECKOUT,
    flow::FLOW,
    rush::RUSH,
    one_row::ONE_ROW,
    open::OPEN,
    quiet::QUIET,
    instances::INSTANCES,
    board::BOARD,
    memory::MEMORY,
    overload::OVERLOAD,
    growth::GROWTH,
    lists::LISTS,
    floor::FLOOR,
];

/// Those whose names begin with one of these; all without any.
pub(crate) fn chosen(only: &[String]) -> Outcome<Vec<&'static Scenario>> {
    for wanted in only {
        if !ALL.iter().any(|scenario| scenario.name.starts_with(wanted.as_str())) {
            return Err(format!("there is no scenario {wanted}: see --list").into());
        }
    }
    let is_wanted = |scenario: &&Scenario| {
        only.is_empty() || only.iter().any(|wanted| scenario.name.starts_with(wanted.as_str()))
    };
    Ok(ALL.iter().filter(is_wanted).collect())
}

/// A load in which nothing may fail: the middle run is shown, failures are faults.
fn show(suite: &mut Suite, scenario: &str, name: &str, runs: Vec<Measured>) {
    for run in &runs {
        if let Err(failure) = without_failures(&run.load.tally) {
            suite.report.fault(scenario, &format!("{name}: {failure}"));
        }
    }
    if let Some(run) = middle(runs) {
        suite.report.load(name, &run);
    }
}

/// What a rate is compared with.
struct Compared {
    scenario: &'static str,
    /// Part of the bare server's rate.
    of_bare: (f64, f64),
    /// Multiple of the rate of a transaction a request.
    of_direct: Option<f64>,
}

impl Compared {
    /// Measures baselines and the service in turn, as often as the options say, and reports medians.
    fn play(
        &self,
        suite: &mut Suite,
        once: impl Fn(&Suite, Cast) -> Outcome<Measured>,
    ) -> Outcome<()> {
        let (mut bare, mut direct, mut served) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..suite.options.runs {
            bare.push(suite.bare()?);
            if self.of_direct.is_some() {
                direct.push(once(suite, Cast::Direct)?);
            }
            served.push(once(suite, Cast::Service(1))?);
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
