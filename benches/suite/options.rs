//! The command line of the suite.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Measures the service, and says whether it reaches what it must.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// Only these scenarios, separated by commas; `--only refusal` means all whose names begin so.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) only: Vec<String>,
    /// Runs of each scenario; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(crate) runs: u16,
    /// Counted seconds of a run.
    #[arg(long, default_value = "3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Seconds before that, which are not counted.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: Duration,
    /// Connections of the closed loop.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) connections: u16,
    /// Threads of the load generator; one for every four cores if not said.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: Option<u16>,
    /// Past sales of 10,000 items each that `growth` lays down first.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) past_sales: u32,
    /// Names the scenarios and ends.
    #[arg(long)]
    pub(crate) list: bool,
    /// Measures this build of the service in place of the one that was built with the suite.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_flash-sale"), value_name = "PATH")]
    pub(crate) binary: PathBuf,
    /// A superuser's URL of a PostgreSQL that is the suite's own.
    #[arg(long, default_value = "", value_name = "URL")]
    pub(crate) database_url: String,
    /// A Redis that is the suite's own: it is emptied again and again.
    #[arg(long, default_value = "", value_name = "URL")]
    pub(crate) redis_url: String,
    /// Where the report goes as JSON.
    #[arg(long, default_value = "target/bench/report.json", value_name = "FILE")]
    pub(crate) report: PathBuf,
    /// Cargo says so to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What this binary is when it is started by itself.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Role {
    /// An HTTP server that answers one text.
    #[command(hide = true)]
    Bare,
    /// The service with a transaction a request.
    #[command(hide = true)]
    Direct,
}

impl Options {
    /// Threads of the load generator.
    pub(crate) fn generator_threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.map_or((cores / 4).clamp(1, 16), usize::from)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= Duration::from_mins(10) => Ok(time),
        _ => Err("must be between 0 and 600 seconds".to_owned()),
    }
}
