//! Where the suite runs: its options, the servers, and a folder for the logs of instances.

use std::path::PathBuf;

use crate::options::Options;
use crate::outcome::Outcome;
use crate::program::Program;
use crate::servers::Servers;

/// Open files that four thousand connections need.
const OPEN_FILES: u64 = 16_384;

/// What all stages share.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) options: Options,
    pub(crate) servers: Servers,
    /// Logs of the instances; removed at the end.
    pub(crate) folder: PathBuf,
}

impl Environment {
    /// Checks the options, and prepares the servers and this process.
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
        let folder = std::env::temp_dir().join(format!("flash-sale-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { options, servers, folder })
    }

    /// The service's binary with the settings that all instances have.
    pub(crate) fn program(&self) -> Program {
        Program::service(&self.options.binary, &self.servers)
    }
}

impl Drop for Environment {
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
