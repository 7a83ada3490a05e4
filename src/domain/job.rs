//! Jobs: work that runs outside of requests, and is repeated until it succeeds or has failed too often.

use std::fmt;
use std::time::Duration;

/// Longest unique key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;
/// Longest name of a schedule, in bytes.
pub const MAX_SCHEDULE_NAME_BYTES: usize = 64;
/// The delay after the first failure.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay between two attempts, before jitter.
const MAX_DELAY: Duration = Duration::from_hours(1);

/// A job's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(i64);

impl JobId {
    /// A number from the database or from an operator; `None` below 1.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the waiting jobs run first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum JobPriority {
    /// After all others.
    Low,
    /// What most jobs have.
    #[default]
    Normal,
    /// Before normal ones.
    High,
    /// Before all others.
    Critical,
}

impl JobPriority {
    /// All of them, the most urgent last.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The priority of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// It runs as soon as a worker is free.
    Waiting,
    /// It waits for its time.
    Scheduled,
    /// A worker runs it.
    Running,
    /// It failed, and waits for its next attempt.
    Retrying,
    /// It failed too often, or for a reason that no attempt would mend: an operator has to act.
    Dead,
    /// It succeeded. Kept for a while.
    Done,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Scheduled, Self::Running, Self::Retrying, Self::Dead, Self::Done];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Dead => "dead",
            Self::Done => "done",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A text that at most one job has, from its enqueueing until it is deleted or dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobKey(String);

impl JobKey {
    /// A key of 1 to [`MAX_KEY_BYTES`] bytes without control characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid =
            (1..=MAX_KEY_BYTES).contains(&text.len()) && !text.contains(char::is_control);
        is_valid.then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleName(String);

impl ScheduleName {
    /// 1 to [`MAX_SCHEDULE_NAME_BYTES`] lower-case letters, digits, dots, dashes and underscores, the first one a letter or digit:
    /// it becomes a metric's label.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_valid = (1..=MAX_SCHEDULE_NAME_BYTES).contains(&text.len())
            && text.starts_with(is_plain)
            && text.chars().all(|c| is_plain(c) || "._-".contains(c));
        is_valid.then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The delay after a failed attempt: it doubles from a second to an hour, plus or minus a quarter, so that jobs that failed together
/// do not come back together. `attempt` counts from 1; the jitter depends on the job alone, and not on chance.
#[must_use]
pub fn backoff(job: JobId, attempt: u16) -> Duration {
    let doublings = u32::from(attempt.saturating_sub(1)).min(31);
    let delay = FIRST_DELAY.saturating_mul(1 << doublings).min(MAX_DELAY);
    // Fibonacci hashing: consecutive numbers are spread over the whole range.
    let mixed =
        (job.0.unsigned_abs() ^ (u64::from(attempt) << 48)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let thousandths = u32::try_from(mixed >> 32).map_or(0, |high| high % 501);
    delay * (750 + thousandths) / 1_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job(number: i64) -> JobId {
        JobId::new(number).unwrap()
    }

    proptest! {
        #[test]
        fn a_delay_doubles_up_to_an_hour_give_or_take_a_quarter(number in 1..i64::MAX, attempt in 1..u16::MAX) {
            let nominal = 2_f64.powi(i32::from(attempt.min(40)) - 1).min(3_600.0);

            let delay = backoff(job(number), attempt).as_secs_f64();

            prop_assert!(delay >= nominal * 0.749 && delay <= nominal * 1.251, "{delay} for {nominal}");
        }
    }

    #[test]
    fn jobs_that_failed_together_come_back_apart() {
        let delays: std::collections::BTreeSet<_> = (1..=100).map(|n| backoff(job(n), 5)).collect();

        assert!(delays.len() > 50, "{delays:?}");
    }

    #[test]
    fn names_are_parsed_as_they_are_written() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
        }
        for priority in JobPriority::ALL {
            assert_eq!(JobPriority::parse(priority.as_str()), Some(priority));
        }
        assert_eq!((JobState::parse("lost"), JobPriority::parse("urgent")), (None, None));
    }

    #[test]
    fn a_schedule_has_a_plain_name() {
        let (long, too_long) = ("a".repeat(64), "a".repeat(65));
        for name in ["prune-keys", "9.to_5", &long] {
            assert!(ScheduleName::parse(name).is_some(), "{name}");
        }
        for name in ["", "-a", "Prune", "a b", "é", &too_long] {
            assert!(ScheduleName::parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_key_is_a_short_text_without_control_characters() {
        assert!(JobKey::parse("report S-1 ✓").is_some());
        for key in ["", "a\nb", &"k".repeat(256)] {
            assert!(JobKey::parse(key).is_none(), "{key:?}");
        }
    }
}
