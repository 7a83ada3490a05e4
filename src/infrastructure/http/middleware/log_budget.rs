//! A limit of log lines per second: a service that refuses thousands of requests a second must not spend its time on logging them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Maximum number of lines per second.
const LINES_PER_SECOND: u64 = 20;

/// Counts lines, second by second.
pub(crate) struct LogBudget {
    origin: Instant,
    second: AtomicU64,
    spent: AtomicU64,
}

/// What to do with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLine {
    /// Write it.
    Write,
    /// Write it, and the number of lines that were left out before it.
    WriteAfter(u64),
    /// Leave it out.
    LeaveOut,
}

impl LogBudget {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), second: AtomicU64::new(0), spent: AtomicU64::new(0) }
    }

    /// What to do with a line at this time.
    pub(crate) fn spend(&self, now: Instant) -> LogLine {
        let second = now.saturating_duration_since(self.origin).as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            let left_out = self.spent.swap(1, Ordering::Relaxed).saturating_sub(LINES_PER_SECOND);
            return if left_out == 0 { LogLine::Write } else { LogLine::WriteAfter(left_out) };
        }
        if self.spent.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND {
            LogLine::Write
        } else {
            LogLine::LeaveOut
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_above_the_limit_are_left_out_and_counted_in_the_next_second() {
        let budget = LogBudget::new();
        let now = budget.origin;

        let lines: Vec<LogLine> = (0..LINES_PER_SECOND + 5).map(|_| budget.spend(now)).collect();

        let written = lines.iter().filter(|line| **line == LogLine::Write).count();
        assert_eq!(u64::try_from(written), Ok(LINES_PER_SECOND));
        assert_eq!(budget.spend(now + Duration::from_secs(1)), LogLine::WriteAfter(5));
        assert_eq!(budget.spend(now + Duration::from_secs(1)), LogLine::Write);
        assert_eq!(budget.spend(now + Duration::from_secs(2)), LogLine::Write);
    }
}
