//! Versions of buyers' rows.
//!
//! A write gives a buyer's row a greater version than it had: the time of the write in microseconds, or where PostgreSQL's clock is
//! behind the row (it was set back, or a server with another clock was promoted) the old version and one. So a version names one state
//! of the row, and of two states the later one has the greater version, wherever they are kept: with remembered rows, and in Redis.
//!
//! The writing statements compute the same, so that what is remembered and published is the version that was written:
//! `greatest(version + 1, …)` on the condition that the row has the version that was read.

use chrono::{DateTime, Utc};

/// The version that a write at this time gives a row that has the version `before`, or that is new.
pub(crate) fn next_version(before: Option<i64>, now: DateTime<Utc>) -> i64 {
    let now = now.timestamp_micros();
    before.map_or(now, |before| now.max(before.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_time_of_its_write_and_grows_when_the_clock_steps_back() {
        let now = DateTime::from_timestamp_micros(1_000).unwrap();

        let versions = [None, Some(0), Some(999), Some(1_000), Some(5_000)]
            .map(|before| next_version(before, now));

        assert_eq!(versions, [1_000, 1_000, 1_000, 1_001, 5_001]);
    }
}
