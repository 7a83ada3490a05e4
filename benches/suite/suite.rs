//! The suite while it runs: scenarios, and their results so far.

use std::time::Instant;

use crate::environment::Environment;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::report::{self, Report, say};

/// Something to measure.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What it measures, in a sentence.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Suite) -> Outcome<()>,
}

/// A running suite.
pub(crate) struct Suite {
    pub(crate) environment: Environment,
    pub(crate) report: Report,
}

impl Suite {
    /// Prepares the environment and describes the machine.
    pub(crate) fn open(options: Options) -> Outcome<Self> {
        let environment = Environment::open(options)?;
        let report = Report::new(&environment.options, environment.servers.describe()?)?;
        Ok(Self { environment, report })
    }

    /// Runs a scenario. If it fails, the others still run.
    pub(crate) fn play(&mut self, scenario: &Scenario) {
        let start = Instant::now();
        if let Err(failure) = (scenario.run)(self) {
            self.report.fault(scenario.name, &failure.to_string());
            self.keep_logs(scenario.name);
        }
        say(&format!("# {} took {:.0} s", scenario.name, start.elapsed().as_secs_f64()));
        // So that there is a report even if a later scenario is interrupted.
        let path = &self.environment.options.report;
        if let Err(failure) = report::write(&self.report, path) {
            say(&format!("# cannot write {}: {failure}", path.display()));
        }
    }

    /// Keeps the instances' logs beside the report, because they explain a failure.
    fn keep_logs(&self, scenario: &str) {
        let Some(beside) = self.environment.options.report.parent() else { return };
        let kept = beside.join("logs").join(scenario);
        let copied = std::fs::create_dir_all(&kept).and_then(|()| {
            std::fs::read_dir(&self.environment.folder)?.try_for_each(|log| {
                let log = log?;
                std::fs::copy(log.path(), kept.join(log.file_name())).map(|_| ())
            })
        });
        match copied {
            Ok(()) => say(&format!("# its logs are in {}", kept.display())),
            Err(failure) => say(&format!("# its logs are lost: {failure}")),
        }
    }

    /// Prints the tables and writes the report. Returns whether no run failed and no promise was broken.
    pub(crate) fn close(self) -> Outcome<bool> {
        let path = &self.environment.options.report;
        report::show(&self.report);
        report::write(&self.report, path)?;
        say(&format!("\nwritten to {}", path.display()));
        Ok(self.report.is_sound())
    }
}
