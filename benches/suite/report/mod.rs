//! What came out: figures with their targets, the runs behind them, and the machine.

mod figure;
mod json;
mod machine;
mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use crate::Outcome;
use crate::generator::tally::float;
use crate::generator::{Class, Kind, Latency};
use crate::measure::Measured;
use crate::options::Options;

pub(crate) use figure::{Figure, median};

/// Everything that the suite tells.
#[derive(Debug)]
pub(crate) struct Report {
    machine: BTreeMap<String, String>,
    figures: Vec<Figure>,
    loads: Vec<LoadLine>,
    faults: Vec<String>,
}

/// The middle one of some runs.
#[derive(Debug, Clone)]
pub(crate) struct LoadLine {
    name: String,
    a_second: f64,
    requests: u64,
    accepted: u64,
    refused: u64,
    shed: u64,
    failed: u64,
    unsent: u64,
    latency: Latency,
    /// The same by kind of requests.
    by_kind: [(Kind, Latency); Kind::ALL.len()],
    /// Microseconds of CPU time a request: service, PostgreSQL, Redis, generator.
    cpu: [f64; 4],
    /// Part of a core that the generator used, by thread.
    generator: f64,
}

impl Report {
    /// An empty one.
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

    /// Adds a figure, and shows it at once.
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

    /// Notes that a run failed or that a promise was broken: figures of that scenario are worth nothing.
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

    /// Shows all of it as tables.
    pub(crate) fn show(&self) {
        table::show(self);
    }

    /// Writes all of it as JSON.
    pub(crate) fn write(&self, path: &Path) -> Outcome<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(&json::of(self))? + "\n")?;
        Ok(())
    }
}

/// The only way to standard output.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
