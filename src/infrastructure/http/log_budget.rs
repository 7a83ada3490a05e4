//! A bound on lines in the log: a service that refuses thousands a second must not spend the rest of its time telling so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lines in a second.
const LINES: u64 = 20;

/// Counts lines by the second.
pub(crate) struct LogBudget {
    origin: Instant,
    second: AtomicU64,
    spent: AtomicU64,
}

/// What to do with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Write it.
    Write,
    /// Write it, and that so many were left out before it.
    WriteAfter(u64),
    /// Leave it out; it is counted.
    LeaveOut,
}

impl LogBudget {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), second: AtomicU64::new(0), spent: AtomicU64::new(0) }
    }

    /// One more line, at this moment.
    pub(crate) fn line(&self, now: Instant) -> Line {
        let second = now.saturating_duration_since(self.origin).as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            let left_out = self.spent.swap(1, Ordering::Relaxed).saturating_sub(LINES);
            return if left_out == 0 { Line::Write } else { Line::WriteAfter(left_out) };
        }
        if self.spent.fetch_add(1, Ordering::Relaxed) < LINES {
            Line::Write
        } else {
            Line::LeaveOut
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_lines_a_second_and_then_how_many_were_left_out() {
        let budget = LogBudget::new();
        let now = budget.origin;

        let lines: Vec<Line> = (0..LINES + 5).map(|_| budget.line(now)).collect();

        let written = lines.iter().filter(|line| **line == Line::Write).count();
        assert_eq!(u64::try_from(written), Ok(LINES));
        assert_eq!(budget.line(now + Duration::from_secs(1)), Line::WriteAfter(5));
        assert_eq!(budget.line(now + Duration::from_secs(1)), Line::Write);
        assert_eq!(budget.line(now + Duration::from_secs(2)), Line::Write);
    }
}
