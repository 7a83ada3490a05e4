//! Starts the service's binary, and runs its commands.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::process::Process;
use crate::program::Program;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_flash-sale");

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Program {
    /// The development profile on free ports, without the schedule, without jobs in `serve`, and without a database.
    pub(crate) fn new() -> Self {
        Self::of(BINARY).variable("FLASH_SALE_ENV", "development").set_all(&[
            ("http.port", "0"),
            ("monitoring.port", "0"),
            ("schedule.enabled", "false"),
            // Tests of other things count sessions, tasks and statements.
            ("jobs.enabled", "false"),
            ("database.min_connections", "1"),
            ("database.max_connections", "10"),
            ("shutdown.grace", "100ms"),
            ("log.format", "json"),
        ])
    }

    /// Starts it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let mut command = self.command(arguments);
        // Outside the sources, because the binary must need nothing from there.
        command.current_dir(std::env::temp_dir()).env("RUST_BACKTRACE", "1");
        Process::start(&mut command)
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let mut process = self.start(arguments);
        let code = process.exit().await;
        Ran { code, stdout: process.stdout.text(), stderr: process.stderr.text() }
    }
}

impl Ran {
    /// The JSON documents on standard output; those of a list one by one.
    pub(crate) fn documents(&self) -> Vec<Value> {
        let documents = serde_json::Deserializer::from_str(&self.stdout).into_iter();
        let documents = documents.map(|document| {
            document.unwrap_or_else(|error| panic!("standard output is not JSON, {error}: {self}"))
        });
        let listed = documents.flat_map(|document| match document {
            Value::Array(entries) => entries,
            Value::Object(mut fields) if fields.get("data").is_some_and(Value::is_array) => {
                fields["data"].take().as_array().unwrap().clone()
            }
            other => vec![other],
        });
        listed.collect()
    }

    /// Standard error without the lines of the log.
    pub(crate) fn complaint(&self) -> Vec<&str> {
        let lines = self.stderr.lines().filter(|line| !line.trim().is_empty());
        lines.filter(|line| !line.starts_with('{')).collect()
    }

    /// Fails the test unless the exit code is 0.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\n{}\n---\n{}", self.code, self.stdout, self.stderr)
    }
}

/// What `scripts/libraries.sh tests/webhooks` has installed.
pub(crate) fn libraries() -> Option<PathBuf> {
    let folder = std::env::var_os("WEBHOOK_LIBRARIES").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "WEBHOOK_LIBRARIES is not set, so receivers and consumers in examples/ are not run"
        );
    }
    folder
}
