//! What the benchmarks need of the library, and nobody else: the feature `bench` makes it.

use std::process::ExitCode;

use crate::infrastructure::persistence;

/// Serves like `flash-sale serve`, but with a transaction for each request.
#[must_use]
pub fn serve_direct() -> ExitCode {
    crate::cli::run_service(crate::app::one_by_one)
}

/// What the service sends to PostgreSQL for a batch that nobody is in the way of.
#[derive(Debug)]
pub struct Statements {
    /// Reads what a batch of checkouts is decided on.
    pub read_checkouts: String,
    /// Writes what was decided.
    pub write_checkouts: String,
    /// Reads what a batch of purchases is decided on.
    pub read_purchases: String,
    /// Writes what was decided.
    pub write_purchases: String,
}

/// The statements for the partitions with this ending: `_from_0` has the sales 1 to 99.
#[must_use]
pub fn statements(ending: &str) -> Statements {
    let made = |template| persistence::of_partition(template, ending);
    Statements {
        read_checkouts: made(persistence::READ_CHECKOUTS),
        write_checkouts: made(persistence::WRITE_CHECKOUTS),
        read_purchases: made(persistence::READ_PURCHASES),
        write_purchases: made(persistence::WRITE_PURCHASES),
    }
}
