//! `make bench`: what the service does in a second, beside what it could do at best, with every promise audited after
//! every run.
//!
//! The suite starts the service as a user does: the binary, its production profile, default settings, a PostgreSQL and a
//! Redis that are as durable as in production. Load comes from [`generator`], which accounts for its own CPU time.
//! Ratios are against [`baselines`] that are measured in the same minutes on the same machine.
//!
//! - [`scenarios`]: one file a figure; each says what it measures, how, and what must come out.
//! - [`stage`]: an empty database with running instances, and a sale. [`servers`], [`database`], [`instance`],
//!   [`program`]: what a stage is made of.
//! - [`measure`]: runs with CPU time by process. [`usage`]: what the kernel knows of a process.
//! - [`traffic`]: what buyers ask. [`client`]: one request at a time.
//! - [`report`]: the tables, and `report.json`.
//!
//! Exit code 0; 1 when a promise was broken or a run failed. A target that was missed is shown and changes nothing.

mod baselines;
mod client;
mod database;
mod generator;
mod instance;
mod measure;
mod options;
mod program;
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
use report::say;
use suite::Suite;

/// The service's own, so that baselines in this binary have it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever stops a run; it is shown and not acted upon.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// A result that can fail in any way.
pub(crate) type Outcome<T> = Result<T, Failure>;

fn main() -> ExitCode {
    let options = Options::parse();
    match options.role {
        Some(Role::Bare) => return baselines::bare::serve(),
        Some(Role::Direct) => return flash_sale::bench::serve_direct(),
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

/// Runs what was chosen; whether all runs went well.
fn run(options: Options) -> Outcome<bool> {
    let chosen = scenarios::chosen(&options.only)?;
    let mut suite = Suite::open(options)?;
    for scenario in chosen {
        suite.play(scenario);
    }
    suite.close()
}
