//! The binary: runs the command line.

use std::process::ExitCode;

/// Faster than the system's allocator for small allocations of many threads, the service's main work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flash_sale::cli::run()
}
