//! What the benchmarks need of the library, and nobody else: the feature `bench` makes it.

use std::process::ExitCode;

/// Serves like `flash-sale serve`, but with a transaction for each request.
#[must_use]
pub fn serve_direct() -> ExitCode {
    crate::cli::run_service(crate::app::one_by_one)
}
