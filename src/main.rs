//! The binary: parses the command line and hands over.

use std::process::ExitCode;

/// Small allocations of many threads are what this service does all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flash_sale::cli::run()
}
