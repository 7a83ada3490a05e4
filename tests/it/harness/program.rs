//! The binary with its environment.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

use serde_json::Value;

use super::process::Process;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_flash-sale");

/// An environment to run the binary in. It inherits nothing.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    variables: BTreeMap<String, String>,
}

/// What a run came to.
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
    /// The development profile on free ports, without the schedule, and without a database.
    pub(crate) fn new() -> Self {
        Self { variables: BTreeMap::new() }
            .variable("FLASH_SALE_ENV", "development")
            .set("http.port", "0")
            .set("monitoring.port", "0")
            .set("schedule.enabled", "false")
            .set("database.min_connections", "1")
            .set("database.max_connections", "10")
            .set("shutdown.grace", "100ms")
            .set("log.format", "json")
    }

    /// With another value for a configuration key, written `a.b`.
    pub(crate) fn set(self, key: &str, value: &str) -> Self {
        let name = key.to_uppercase().replace('.', "__");
        self.variable(&format!("FLASH_SALE__{name}"), value)
    }

    /// With another environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A variable's value.
    pub(crate) fn value(&self, name: &str) -> &str {
        &self.variables[name]
    }

    /// Without a variable.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Starts it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(BINARY);
        // Another folder than the sources: the binary needs nothing from there.
        command.args(arguments).current_dir(std::env::temp_dir());
        command.env_clear().env("RUST_BACKTRACE", "1").envs(&self.variables);
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

    /// Passes if it ended well.
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
