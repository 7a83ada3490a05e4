//! The command line. Data goes to standard output, everything else to standard error.
//!
//! Exit codes: 0 success, otherwise those in `failure.rs`.

mod actor;
mod audit;
mod buyer;
mod cache;
mod explain;
mod failure;
mod health;
mod ids;
mod job;
mod key;
mod output;
mod purchase;
mod retention;
mod sale;
mod schedule;
mod time;
mod verify;
mod webhook;
mod why;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app;
use crate::config::Config;

use failure::{BAD_ARGUMENTS, FAILED, Failure};
use output::Output;
use sale::SaleCommand;

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
    /// Folder whose default.yaml and profiles replace those in the binary.
    #[arg(long, global = true, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Format of the output; by default a table on a terminal, else json.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the service until SIGTERM or SIGINT.
    Serve,
    /// Runs jobs and schedules without serving buyers, until SIGTERM or SIGINT.
    Worker,
    /// Applies pending database migrations.
    Migrate,
    /// Creates, lists and reports on sales.
    #[command(subcommand)]
    Sale(SaleCommand),
    /// Takes purchases back.
    #[command(subcommand)]
    Purchase(purchase::PurchaseCommand),
    /// Shows what is on record of a buyer.
    #[command(subcommand)]
    Buyer(buyer::BuyerCommand),
    /// Tells what happened to a checkout or a request, and why.
    Why(why::WhyArgs),
    /// Manages the endpoints of other systems that receive events.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Lists, shows, enqueues, retries and discards jobs.
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Lists, adds, pauses, resumes, runs and removes schedules of jobs.
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Creates, lists and revokes API keys of operators and services.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Archives old sales and drops their tables.
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// Shows what operators have changed.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Removes what is cached of lists.
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Shows how PostgreSQL runs the service's statements.
    Explain(explain::ExplainArgs),
    /// Audits the promises: exit 0 all hold, 1 at least one is broken, 2 the audit could not run.
    Verify(verify::VerifyArgs),
    /// Probes the running service: exit 0 it is alive, 1 it is not.
    Health,
    /// Prints the OpenAPI document.
    Openapi {
        /// Print the document of the port for operators instead.
        #[arg(long)]
        admin: bool,
    },
}

/// Parses the command line and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain_misuse(&error),
    };
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                print_error(&failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn execute(cli: Cli) -> Result<(), Failure> {
    let output = Output::or_by_terminal(cli.common.output);
    if !matches!(cli.command, Command::Sale(SaleCommand::Report(_))) {
        // Before anything is connected to.
        output.of_data()?;
    }
    // The document does not depend on the configuration.
    if let Command::Openapi { admin } = cli.command {
        let document = if admin { app::admin_openapi() } else { app::openapi() };
        return output::text(&document);
    }
    // An audit that cannot run has found no broken promise.
    let code = if matches!(cli.command, Command::Verify(_)) { BAD_ARGUMENTS } else { FAILED };
    let config = Config::load(cli.common.config.as_deref())
        .map_err(|error| Failure::because(BAD_ARGUMENTS, &error))?;
    let runtime = runtime().map_err(|error| Failure::because(code, &error))?;
    if !matches!(cli.command, Command::Serve | Command::Worker) {
        for warning in &config.warnings {
            print_error(warning);
        }
        warn_on_stderr();
    }
    runtime.block_on(async {
        match cli.command {
            Command::Serve => {
                Box::pin(app::serve(config)).await.map_err(|error| Failure::because(code, &error))
            }
            Command::Worker => {
                Box::pin(app::work(config)).await.map_err(|error| Failure::because(code, &error))
            }
            Command::Migrate => {
                app::migrate_schema(&config).await.map_err(|error| Failure::because(code, &error))
            }
            Command::Sale(command) => sale::run(command, &config, output).await,
            Command::Purchase(command) => purchase::run(command, &config, output.of_data()?).await,
            Command::Buyer(command) => buyer::run(command, &config, output.of_data()?).await,
            Command::Why(args) => why::run(args, &config, output.of_data()?).await,
            Command::Webhook(command) => webhook::run(command, &config, output.of_data()?).await,
            Command::Key(command) => key::run(command, &config, output.of_data()?).await,
            Command::Retention(command) => {
                retention::run(&command, &config, output.of_data()?).await
            }
            Command::Audit(command) => audit::run(&command, &config, output.of_data()?).await,
            Command::Cache(command) => cache::run(command, &config, output.of_data()?).await,
            Command::Explain(args) => explain::run(&args, &config, output.of_data()?).await,
            Command::Verify(args) => verify::run(&args, &config, output.of_data()?).await,
            Command::Job(command) => job::run(command, &config, output.of_data()?).await,
            Command::Schedule(command) => schedule::run(command, &config, output.of_data()?).await,
            Command::Health => health::run(&config).await,
            Command::Openapi { .. } => Ok(()),
        }
    })
}

/// Prints the warnings of this crate on standard error, such as each failed attempt to connect: a command that waits says why.
fn warn_on_stderr() {
    let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), Level::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time();
    // It fails only where a subscriber is set already, which then has the warnings.
    let _ = tracing_subscriber::registry().with(lines.with_filter(own)).try_init();
}

/// Prints help on standard output, and an error as one line on standard error.
fn explain_misuse(error: &clap::Error) -> ExitCode {
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
    print_error(&format!("{problem}; see `flash-sale --help`"));
    ExitCode::from(BAD_ARGUMENTS)
}

/// Runs the service without a command line, with other adapters for checkouts and purchases.
#[cfg(feature = "bench")]
pub(crate) fn run_service(selling: app::MakeSelling) -> ExitCode {
    let served = Config::load(None).map_err(|error| error.to_string()).and_then(|config| {
        let runtime = runtime().map_err(|error| error.to_string())?;
        runtime.block_on(app::serve_with(config, selling)).map_err(|error| error.to_string())
    });
    served.map_or_else(
        |error| {
            print_error(&error);
            ExitCode::from(FAILED)
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The runtime of every command.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

fn print_error(message: &str) {
    let _ = writeln!(std::io::stderr(), "flash-sale: {message}");
}
