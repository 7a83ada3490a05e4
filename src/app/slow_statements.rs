//! The log of slow statements, which needs to know the statements of PostgreSQL and a budget of lines.

use std::time::Instant;

use crate::infrastructure::http::{LogBudget, LogLine};
use crate::infrastructure::monitoring::SlowStatements;
use crate::infrastructure::persistence::recognise;

/// The layer that logs them. While PostgreSQL is slow, each statement may be.
pub(super) fn slow_statements() -> SlowStatements {
    let budget = LogBudget::new();
    let lines_left = move || match budget.spend(Instant::now()) {
        LogLine::Write => Some(0),
        LogLine::WriteAfter(left_out) => Some(left_out),
        LogLine::LeaveOut => None,
    };
    let name = |statement: &str| {
        let recognised = recognise(statement);
        (recognised.name, recognised.fingerprint)
    };
    SlowStatements::new(name, Box::new(lines_left))
}
