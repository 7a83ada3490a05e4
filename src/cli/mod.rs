//! The command line. Data goes to standard output, everything else to standard error.
//!
//! Exit codes: 0 done, 1 failed (`verify`: a promise is broken), 2 bad arguments (`verify`: could not look).

mod health;
mod output;
mod sale;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::app;
use crate::config::Config;

use output::Format;

const FAILED: u8 = 1;
const BAD_ARGUMENTS: u8 = 2;

/// Sells a limited stock at an announced second, without overselling or underselling.
#[derive(Debug, Parser)]
#[command(name = "flash-sale", version, about)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Folder with default.yaml and profiles in place of those in the binary.
    #[arg(long, global = true, value_name = "DIR")]
    config: Option<PathBuf>,
    /// How data is written; json when standard output is not a terminal.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the service until SIGTERM or SIGINT.
    Serve,
    /// Brings the schema up to date.
    Migrate,
    /// Creates and lists sales.
    #[command(subcommand)]
    Sale(sale::SaleCommand),
    /// Looks for broken promises: exit 0 all hold, 1 one is broken, 2 could not look.
    Verify(verify::VerifyArgs),
    /// Asks the running service whether it lives: exit 0 or 1.
    Health,
    /// Prints the interface as an OpenAPI document.
    Openapi,
}

/// Why a command ends without success.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// Parses the command line and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                say(&format!("flash-sale: {}", failure.message));
            }
            ExitCode::from(failure.code)
        }
    }
}

fn execute(cli: Cli) -> Result<(), Failure> {
    // It needs no configuration.
    if matches!(cli.command, Command::Openapi) {
        return output::text(&app::openapi());
    }
    // What `verify` cannot look at is not a broken promise.
    let code = if matches!(cli.command, Command::Verify(_)) { BAD_ARGUMENTS } else { FAILED };
    let config = Config::load(cli.common.config.as_deref())
        .map_err(|error| Failure::new(BAD_ARGUMENTS, error))?;
    let runtime = runtime().map_err(|error| Failure::new(code, error))?;
    let format = Format::or_by_terminal(cli.common.output);
    if !matches!(cli.command, Command::Serve) {
        for warning in &config.warnings {
            say(&format!("flash-sale: {warning}"));
        }
    }
    runtime.block_on(async {
        match cli.command {
            Command::Serve => app::serve(config).await.map_err(|error| Failure::new(code, error)),
            Command::Migrate => {
                app::migrate_schema(&config).await.map_err(|error| Failure::new(code, error))
            }
            Command::Sale(command) => sale::run(command, &config, format).await,
            Command::Verify(args) => verify::run(&args, &config, format).await,
            Command::Health => health::run(&config).await,
            Command::Openapi => Ok(()),
        }
    })
}

/// Help is data; a mistake is one sentence that says what to do.
fn explain(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let problem: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    let problem = problem.join(" ");
    let problem = problem.strip_prefix("error: ").unwrap_or(&problem);
    let problem = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing"
    } else {
        problem
    };
    say(&format!("flash-sale: {problem}; see `flash-sale --help` for what can be said here"));
    ExitCode::from(BAD_ARGUMENTS)
}

/// Runs the service without a command line, selling as it is told.
#[cfg(feature = "bench")]
pub(crate) fn run_service(selling: app::MakeSelling) -> ExitCode {
    let served = Config::load(None).map_err(|error| error.to_string()).and_then(|config| {
        let runtime = runtime().map_err(|error| error.to_string())?;
        runtime.block_on(app::serve_with(config, selling)).map_err(|error| error.to_string())
    });
    served.map_or_else(
        |error| {
            say(&format!("flash-sale: {error}"));
            ExitCode::from(FAILED)
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The runtime of every command.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
