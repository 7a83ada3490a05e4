//! The command line of the suite.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Measures the service, and shows whether it reaches its targets.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// Only these scenarios, separated by commas; `--only refusal` selects all whose names begin with it.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) only: Vec<String>,
    /// Runs of each scenario; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(crate) runs: u16,
    /// Counted seconds of a run.
    #[arg(long, default_value = "3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Seconds before that, which do not count.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: Duration,
    /// Connections of the closed loop.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) connections: u16,
    /// Threads of the load generator; one for every four cores by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: Option<u16>,
    /// Past sales of 10,000 items each that `growth` creates first.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) past_sales: u32,
    /// Rows of the file that `import` imports.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) import_rows: u32,
    /// Checkouts of the history in which `why` asks for one.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    pub(crate) attempts: u64,
    /// Purchases of each of the hundred old sales of `retention`.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) old_purchases: u32,
    /// Lists the scenarios.
    #[arg(long)]
    pub(crate) list: bool,
    /// Measures this binary instead of the one that was built with the suite.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_flash-sale"), value_name = "PATH")]
    pub(crate) binary: PathBuf,
    /// A superuser's URL of a private PostgreSQL.
    #[arg(long, default_value = "", value_name = "URL")]
    pub(crate) database_url: String,
    /// URL of a private Redis, which is emptied for every stage.
    #[arg(long, default_value = "", value_name = "URL")]
    pub(crate) redis_url: String,
    /// `scripts/services.sh`, for scenarios that need further servers.
    #[arg(long, value_name = "PATH")]
    pub(crate) services: Option<PathBuf>,
    /// The folder in which it has started the suite's servers.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) servers: Option<PathBuf>,
    /// The file of the JSON report.
    #[arg(long, default_value = "target/bench/report.json", value_name = "FILE")]
    pub(crate) report: PathBuf,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What this binary does when the suite starts it.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Role {
    /// Serves one text over HTTP.
    #[command(hide = true)]
    Bare,
    /// Serves like the service, with one transaction for each request.
    #[command(hide = true)]
    Direct,
    /// Serves from Redis alone.
    #[command(hide = true)]
    RedisOnly,
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
