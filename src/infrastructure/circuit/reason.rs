//! Why a dependency is away: one short line for operators, in the log and in `/healthz`.

use std::fmt;
use std::sync::Arc;

/// Characters that are kept. A server's message may be longer than an operator needs.
const MAX_CHARACTERS: usize = 200;

/// A reason. It MUST NOT contain secrets, or what a user typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason(Arc<str>);

impl Reason {
    /// The text as one line, cut to a bounded length.
    pub(crate) fn new(text: &str) -> Self {
        let line = |character: char| if character.is_control() { ' ' } else { character };
        Self(text.chars().map(line).take(MAX_CHARACTERS).collect::<String>().trim().into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        let reason = Reason::new(&format!("no route\nto host\n{}", "x".repeat(1_000))).to_string();

        assert!(reason.starts_with("no route to host x"), "{reason}");
        assert_eq!(reason.chars().count(), MAX_CHARACTERS);
    }
}
