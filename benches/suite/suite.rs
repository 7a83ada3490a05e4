//! The suite while it runs: its options, the servers, and what came out so far.

use std::path::PathBuf;
use std::time::Instant;

use crate::Outcome;
use crate::options::Options;
use crate::program::Program;
use crate::report::{Report, say};
use crate::scenarios::Scenario;
use crate::servers::Servers;

/// Open files that four thousand connections need.
const OPEN_FILES: u64 = 16_384;

/// A running suite.
pub(crate) struct Suite {
    pub(crate) options: Options,
    pub(crate) servers: Servers,
    pub(crate) report: Report,
    /// Logs of the instances; removed at the end.
    pub(crate) folder: PathBuf,
}

impl Suite {
    /// Looks at the servers and at the machine.
    pub(crate) fn open(options: Options) -> Outcome<Self> {
        if options.database_url.is_empty() || options.redis_url.is_empty() {
            return Err("--database-url and --redis-url are missing: run `make bench`".into());
        }
        if !options.binary.is_file() {
            return Err(format!("there is no program {}", options.binary.display()).into());
        }
        allow_open_files()?;
        let servers = Servers::connect(&options.database_url, &options.redis_url)?;
        servers.fill_log()?;
        let report = Report::new(&options, servers.describe()?)?;
        let folder = std::env::temp_dir().join(format!("flash-sale-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { options, servers, report, folder })
    }

    /// Runs a scenario. One that fails does not keep the others from running.
    pub(crate) fn play(&mut self, scenario: &Scenario) {
        let start = Instant::now();
        if let Err(failure) = (scenario.run)(self) {
            self.report.fault(scenario.name, &failure.to_string());
            self.keep_logs(scenario.name);
        }
        say(&format!("# {} took {:.0} s", scenario.name, start.elapsed().as_secs_f64()));
        // Also when a later one is interrupted there is something to read.
        if let Err(failure) = self.report.write(&self.options.report) {
            say(&format!("# cannot write {}: {failure}", self.options.report.display()));
        }
    }

    /// Logs of instances are of use when something went wrong: they are kept beside the report.
    fn keep_logs(&self, scenario: &str) {
        let Some(beside) = self.options.report.parent() else { return };
        let kept = beside.join("logs").join(scenario);
        let copied = std::fs::create_dir_all(&kept).and_then(|()| {
            std::fs::read_dir(&self.folder)?.try_for_each(|log| {
                let log = log?;
                std::fs::copy(log.path(), kept.join(log.file_name())).map(|_| ())
            })
        });
        match copied {
            Ok(()) => say(&format!("# its logs are in {}", kept.display())),
            Err(failure) => say(&format!("# its logs are lost: {failure}")),
        }
    }

    /// Shows the tables; whether all went well.
    pub(crate) fn close(self) -> Outcome<bool> {
        self.report.show();
        self.report.write(&self.options.report)?;
        say(&format!("\nwritten to {}", self.options.report.display()));
        Ok(self.report.is_sound())
    }

    /// The service's binary with the environment that all instances have.
    pub(crate) fn program(&self) -> Program {
        Program::new(&self.options.binary, &self.servers)
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn allow_open_files() -> Outcome<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < OPEN_FILES {
        setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard)?;
    }
    Ok(())
}
