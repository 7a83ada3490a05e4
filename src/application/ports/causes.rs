//! Errors with their causes, for the log and for an operator at a terminal. Answers to clients never contain them.

use std::error::Error;
use std::fmt;

/// Shows an error with all its causes: `the new sale failed: permission denied for table sales`.
#[derive(Debug, Clone, Copy)]
pub struct Causes<'e>(pub &'e (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut source = self.0.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Many errors contain the text of their cause.
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::PortError;

    #[derive(Debug, thiserror::Error)]
    #[error("the server says: {0}")]
    struct Telling(#[source] std::io::Error);

    #[test]
    fn every_cause_is_shown_once() {
        let refused = std::io::Error::other("permission denied");
        let error = PortError::Broken { what: "the new sale", source: Telling(refused).into() };

        assert_eq!(
            Causes(&error).to_string(),
            "the new sale failed: the server says: permission denied"
        );
    }
}
