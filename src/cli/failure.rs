//! Why a command fails, and its exit code.

use std::fmt::Display;

/// The command failed; `verify`: a promise is broken.
pub(super) const FAILED: u8 = 1;
/// Invalid arguments or configuration; `verify`: the audit could not run.
pub(super) const BAD_ARGUMENTS: u8 = 2;

/// Why a command fails.
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }
}
