//! The service's settings in the benchmarks; starts the binary, and runs its commands.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::outcome::{Failure, Outcome};
use crate::program::Program;
use crate::servers::Servers;

/// A key for codes of the benchmarks, because the production profile requires one.
const CODE_KEYS: &str = "bench:YSBrZXkgZm9yIGEgYmVuY2htYXJrIG9ubHksIDMyIGI=";

impl Program {
    /// The production profile with its defaults, on free ports, without the schedule.
    pub(crate) fn service(binary: &Path, servers: &Servers) -> Self {
        Self::of(binary)
            .variable("FLASH_SALE_ENV", "production")
            .variable("DATABASE_URL", &servers.database_url)
            .variable("REDIS_URL", &servers.redis_url)
            .set_all(&[
                ("checkout.code_keys", CODE_KEYS),
                ("http.host", "127.0.0.1"),
                ("http.port", "0"),
                ("monitoring.host", "127.0.0.1"),
                ("monitoring.port", "0"),
                ("schedule.enabled", "false"),
                ("shutdown.grace", "0s"),
            ])
    }

    /// Starts it, with its output in a file.
    pub(crate) fn start(&self, arguments: &[&str], log: &Path) -> Outcome<Child> {
        let (out, err) = (File::create(log)?, File::options().append(true).open(log)?);
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(Failure::from)
    }

    /// Runs it to its end. Returns its standard output.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome<String> {
        let ran = self.command(arguments).stdin(Stdio::null()).output()?;
        let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
        if ran.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&ran.stderr);
        Err(format!("`{}` failed: {stderr} {stdout}", arguments.join(" ")).into())
    }
}
