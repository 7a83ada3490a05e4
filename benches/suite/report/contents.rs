//! The contents of a report: figures with their targets, the runs behind them, and the machine.

use std::collections::BTreeMap;

use super::figure::Figure;
use super::machine;
use super::say::say;
use crate::generator::tally::float;
use crate::generator::{Class, Kind, Latency};
use crate::measure::Measured;
use crate::options::Options;
use crate::outcome::Outcome;

/// A report.
#[derive(Debug)]
pub(crate) struct Report {
    pub(super) machine: BTreeMap<String, String>,
    pub(super) figures: Vec<Figure>,
    pub(super) loads: Vec<LoadLine>,
    pub(super) faults: Vec<String>,
}

/// The median run of a load.
#[derive(Debug, Clone)]
pub(super) struct LoadLine {
    pub(super) name: String,
    pub(super) a_second: f64,
    pub(super) requests: u64,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) shed: u64,
    pub(super) failed: u64,
    pub(super) unsent: u64,
    pub(super) latency: Latency,
    /// By kind of request.
    pub(super) by_kind: [(Kind, Latency); Kind::ALL.len()],
    /// CPU time in microseconds for each request: service, PostgreSQL, Redis, generator.
    pub(super) cpu: [f64; 4],
    /// Cores that the generator used, for each of its threads.
    pub(super) generator: f64,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(options: &Options, servers: BTreeMap<String, String>) -> Outcome<Self> {
        let mut machine = machine::describe()?;
        machine.extend(servers);
        machine.insert("suite.runs".to_owned(), options.runs.to_string());
        machine.insert("suite.seconds".to_owned(), options.seconds.as_secs_f64().to_string());
        machine.insert("suite.connections".to_owned(), options.connections.to_string());
        machine
            .insert("suite.generator_threads".to_owned(), options.generator_threads().to_string());
        Ok(Self { machine, figures: Vec::new(), loads: Vec::new(), faults: Vec::new() })
    }

    /// Adds a figure and prints it.
    pub(crate) fn figure(&mut self, figure: Figure) {
        say(&figure.line());
        self.figures.push(figure);
    }

    /// Adds a run.
    pub(crate) fn load(&mut self, name: &str, run: &Measured) {
        let (tally, load) = (&run.load.tally, &run.load);
        let cpu = [run.cpu.service, run.cpu.postgres, run.cpu.redis, load.generator_cpu];
        let time = load.elapsed.as_secs_f64().max(f64::EPSILON);
        let threads = float(u64::try_from(load.threads).unwrap_or(1));
        self.loads.push(LoadLine {
            name: name.to_owned(),
            a_second: run.rate(),
            requests: tally.requests(),
            accepted: tally.count(Class::Accepted),
            refused: tally.count(Class::Refused),
            shed: tally.count(Class::Shed),
            failed: tally.count(Class::Failed),
            unsent: tally.unsent,
            latency: tally.served(),
            by_kind: Kind::ALL.map(|kind| (kind, tally.served_of(kind))),
            cpu: cpu.map(|cpu| run.micros_a_request(cpu)),
            generator: load.generator_cpu.as_secs_f64() / time / threads,
        });
    }

    /// Records that a run failed or that a promise was broken, which invalidates the figures of the scenario.
    pub(crate) fn fault(&mut self, scenario: &str, what: &str) {
        say(&format!("# {scenario}: {what}"));
        self.faults.push(format!("{scenario}: {what}"));
        for figure in &mut self.figures {
            figure.is_struck |= figure.scenario == scenario;
        }
    }

    /// Whether no run failed and no promise was broken.
    pub(crate) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}
