//! Standard output.

use std::io::Write;

/// Prints a line. Nothing else in the suite writes to standard output.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
