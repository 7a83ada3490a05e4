//! The service's binary with its environment.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::servers::Servers;
use crate::{Failure, Outcome};

/// A key for codes that are worth nothing: production wants one of its own.
const CODE_KEYS: &str = "bench:YSBrZXkgZm9yIGEgYmVuY2htYXJrIG9ubHksIDMyIGI=";

/// An environment to run the binary in. It inherits nothing.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    binary: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Program {
    /// The production profile with its defaults, on free ports, without the schedule.
    pub(crate) fn new(binary: &Path, servers: &Servers) -> Self {
        let program = Self { binary: binary.to_owned(), variables: BTreeMap::new() };
        program
            .variable("FLASH_SALE_ENV", "production")
            .variable("DATABASE_URL", &servers.database_url)
            .variable("REDIS_URL", &servers.redis_url)
            .set("checkout.code_keys", CODE_KEYS)
            .set("http.host", "127.0.0.1")
            .set("http.port", "0")
            .set("monitoring.host", "127.0.0.1")
            .set("monitoring.port", "0")
            .set("schedule.enabled", "false")
            .set("shutdown.grace", "0s")
    }

    /// Another program in the same environment.
    pub(crate) fn binary(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
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

    /// Starts it; what it says goes into a file.
    pub(crate) fn start(&self, arguments: &[&str], log: &Path) -> Outcome<Child> {
        let (out, err) = (File::create(log)?, File::options().append(true).open(log)?);
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(Failure::from)
    }

    /// Runs it to its end; what it wrote to standard output.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome<String> {
        let ran = self.command(arguments).stdin(Stdio::null()).output()?;
        let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
        if ran.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&ran.stderr);
        Err(format!("`{}` failed: {stderr} {stdout}", arguments.join(" ")).into())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().envs(&self.variables);
        command
    }
}
