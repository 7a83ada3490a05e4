//! The failure of a statement that several callers share.

use crate::application::ports::PortError;

/// The same error for each caller.
pub(crate) fn same_failure<T>(
    what: &'static str,
    error: &PortError,
    callers: usize,
) -> Vec<Result<T, PortError>> {
    let text = error.to_string();
    let failure = |_| {
        let source = text.clone().into();
        Err(match error {
            PortError::Broken { .. } => PortError::Broken { what, source },
            PortError::Unavailable { .. } | PortError::Overloaded(_) => {
                PortError::Unavailable { what, source }
            }
        })
    };
    (0..callers).map(failure).collect()
}
