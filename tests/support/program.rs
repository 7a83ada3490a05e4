//! The service's binary, or another program, with the environment that it runs in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// A binary and its environment. It inherits no variable from this process.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    binary: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Program {
    /// This binary, with an empty environment.
    pub(crate) fn of(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), variables: BTreeMap::new() }
    }

    /// Another binary with the same environment.
    pub(crate) fn binary(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// Sets a configuration key, written `a.b`.
    pub(crate) fn set(self, key: &str, value: &str) -> Self {
        let name = key.to_uppercase().replace('.', "__");
        self.variable(&format!("FLASH_SALE__{name}"), value)
    }

    /// Sets configuration keys.
    pub(crate) fn set_all(self, settings: &[(&str, &str)]) -> Self {
        settings.iter().fold(self, |program, (key, value)| program.set(key, value))
    }

    /// Sets an environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes an environment variable.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// The value of an environment variable that is set.
    pub(crate) fn value(&self, name: &str) -> &str {
        &self.variables[name]
    }

    /// The command that runs it with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().envs(&self.variables);
        command
    }
}
