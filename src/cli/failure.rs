//! Why a command fails, and its exit code.

use std::error::Error;

use crate::application::ports::{Causes, PortError};

/// The command failed, or was refused; `verify`: a promise is broken.
pub(super) const FAILED: u8 = 1;
/// Invalid arguments or configuration; `verify`: the audit could not run.
pub(super) const BAD_ARGUMENTS: u8 = 2;
/// The command could not do anything, for example because PostgreSQL is away.
pub(super) const COULD_NOT: u8 = 2;

/// Why a command fails.
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A port's error: it could not be reached, or something is broken.
    pub(super) fn of_port(error: &PortError) -> Self {
        let code = if matches!(error, PortError::Broken { .. }) { FAILED } else { COULD_NOT };
        Self::because(code, error)
    }

    /// The error with its causes: without them an operator could not act. An error is no text, so [`Self::new`] cannot take one.
    pub(super) fn because(code: u8, error: &(dyn Error + 'static)) -> Self {
        Self::new(code, Causes(error).to_string())
    }
}
