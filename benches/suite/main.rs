//! `make bench`: the service's throughput and latency, compared with what is possible at best. Every promise is verified after
//! every run.
//!
//! The suite starts the service as a user does: the binary with its production profile and default settings, and a PostgreSQL
//! and a Redis that are as durable as in production. Load comes from [`generator`], which measures its own CPU time. Ratios are
//! against [`baselines`] that are measured in the same minutes on the same machine.
//!
//! - [`suite`]: the scenarios' runs and results. [`scenarios`]: one file for each figure, with its method and target.
//! - [`stage`]: an empty database with running instances, and a sale, in an [`environment`]. [`servers`], [`database`],
//!   [`instance`], [`program`], [`commands`], [`proxy`]: its parts.
//! - [`measure`]: runs with CPU time by process. [`usage`]: CPU time and memory of processes.
//! - [`traffic`]: the requests of buyers. [`client`]: one request at a time.
//! - [`report`]: the tables, and `report.json`.
//!
//! The exit code is 0, or 1 if a promise was broken or a run failed. A missed target is shown and does not change it. The
//! black-box tests share `tests/support` with the suite.

mod baselines;
mod client;
mod commands;
mod database;
mod environment;
mod further_servers;
mod generator;
mod instance;
#[expect(clippy::unwrap_used, reason = "what cannot be signed ends the benchmark")]
#[expect(dead_code, reason = "the black-box tests use the rest")]
#[path = "../../tests/support/tokens.rs"]
mod issuer;
mod measure;
mod options;
mod outcome;
#[path = "../../tests/support/program.rs"]
mod program;
#[expect(dead_code, reason = "the black-box tests use the rest")]
#[path = "../../tests/support/proxy.rs"]
mod proxy;
mod report;
mod scenarios;
mod servers;
mod stage;
mod suite;
mod traffic;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use options::{Options, Role};
use outcome::Outcome;
use report::say;
use suite::Suite;

/// The service's allocator, so that the baselines in this binary have it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    match options.role {
        Some(Role::Bare) => return baselines::bare::serve(),
        Some(Role::Direct) => return flash_sale::bench::serve_direct(),
        Some(Role::RedisOnly) => return baselines::redis_only::server::serve(),
        None => {}
    }
    if options.list {
        for scenario in scenarios::ALL {
            say(&format!("{:16} {}", scenario.name, scenario.about));
        }
        return ExitCode::SUCCESS;
    }
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            say(&format!("bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the chosen scenarios. Returns whether no run failed and no promise was broken.
fn run(options: Options) -> Outcome<bool> {
    let chosen = scenarios::chosen(&options.only)?;
    let mut suite = Suite::open(options)?;
    for scenario in chosen {
        suite.play(scenario);
    }
    suite.close()
}
