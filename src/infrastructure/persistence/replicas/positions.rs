//! How far the primary's write-ahead log was at which time.
//!
//! A replica that has replayed it up to a position has everything that was committed before the primary reported that position. So its
//! age is known without a clock of the servers, and a primary that writes nothing makes no replica look old: the position stays the
//! same, and is known to be the latest again and again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of positions that are kept.
const MAX_POINTS: usize = 512;

/// A position, and the time before which everything committed is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    asked_at: Instant,
    position: i64,
}

/// The positions of a while, the oldest first.
#[derive(Debug)]
pub(crate) struct Positions {
    points: Mutex<VecDeque<Point>>,
    /// The latest point replaces the one before it within this time, so that the limit of points reaches far enough back.
    spacing: Duration,
}

impl Positions {
    /// Positions that tell the age of a replica up to twice this time.
    pub(crate) fn reaching(back: Duration) -> Self {
        let points = u32::try_from(MAX_POINTS / 2).unwrap_or(1);
        Self { points: Mutex::default(), spacing: back / points }
    }

    /// Records what the primary reported when it was asked at this time.
    pub(crate) fn record(&self, asked_at: Instant, position: i64) {
        let mut points = self.points();
        let is_older = points.back().is_some_and(|last| asked_at < last.asked_at);
        if is_older {
            return;
        }
        if points.back().is_some_and(|last| position < last.position) {
            // Another server, or another history: the older positions say nothing about it.
            points.clear();
        }
        let before = points.len().checked_sub(2).and_then(|at| points.get(at).copied());
        if before.is_some_and(|before| asked_at.duration_since(before.asked_at) < self.spacing) {
            points.pop_back();
        }
        if points.len() >= MAX_POINTS {
            points.pop_front();
        }
        points.push_back(Point { asked_at, position });
    }

    /// Forgets all: they were those of another history.
    pub(crate) fn clear(&self) {
        self.points().clear();
    }

    /// The time before which everything committed has been replayed up to this position; `None` if that is longer ago than is known.
    pub(crate) fn as_of(&self, replayed: i64) -> Option<Instant> {
        let points = self.points();
        let known = points.partition_point(|point| point.position <= replayed);
        Some(points.get(known.checked_sub(1)?)?.asked_at)
    }

    /// How long a replica that has replayed up to this position lags behind: zero if it has everything that is known of.
    pub(crate) fn lag(&self, replayed: i64, now: Instant) -> Option<Duration> {
        let latest = self.points().back()?.position;
        if latest <= replayed {
            return Some(Duration::ZERO);
        }
        Some(now.saturating_duration_since(self.as_of(replayed)?))
    }

    fn points(&self) -> MutexGuard<'_, VecDeque<Point>> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn recorded(points: &[(u32, i64)]) -> (Positions, Instant) {
        let (positions, begin) = (Positions::reaching(SECOND), Instant::now());
        for (second, position) in points {
            positions.record(begin + *second * SECOND, *position);
        }
        (positions, begin)
    }

    #[test]
    fn a_replica_is_as_old_as_the_last_position_that_it_has_replayed() {
        let (positions, begin) = recorded(&[(0, 10), (1, 20), (2, 30)]);

        assert_eq!(positions.as_of(25), Some(begin + SECOND));
        assert_eq!(positions.as_of(30), Some(begin + 2 * SECOND));
        assert_eq!(positions.as_of(9), None);
    }

    #[test]
    fn a_primary_that_writes_nothing_makes_no_replica_lag() {
        let (positions, begin) = recorded(&[(0, 10), (60, 10), (120, 10)]);

        assert_eq!(positions.as_of(10), Some(begin + 120 * SECOND));
        assert_eq!(positions.lag(10, begin + 120 * SECOND), Some(Duration::ZERO));
    }

    #[test]
    fn the_lag_grows_while_a_replica_stands_still() {
        let (positions, begin) = recorded(&[(0, 10), (1, 20), (2, 30)]);

        assert_eq!(positions.lag(10, begin + 2 * SECOND), Some(2 * SECOND));
        assert_eq!(positions.lag(10, begin + 5 * SECOND), Some(5 * SECOND));
    }

    #[test]
    fn a_position_that_goes_back_is_of_another_history() {
        let (positions, begin) = recorded(&[(0, 10), (1, 20), (2, 15)]);

        assert_eq!(positions.as_of(14), None);
        assert_eq!(positions.as_of(20), Some(begin + 2 * SECOND));
    }

    #[test]
    fn an_answer_that_was_overtaken_by_a_later_one_changes_nothing() {
        let (positions, begin) = recorded(&[(0, 10), (2, 20), (1, 15)]);

        assert_eq!(positions.as_of(16), Some(begin));
    }

    #[test]
    fn positions_are_bounded_and_reach_back_far_enough_however_often_they_are_read() {
        let (positions, begin) = (Positions::reaching(SECOND), Instant::now());
        let step = SECOND / 5_000;
        for at in 0..20_000_u32 {
            positions.record(begin + step * at, i64::from(at));
        }

        assert!(positions.points().len() <= MAX_POINTS);
        // A second and a half before the end.
        let lag = positions.lag(20_000 - 7_500, begin + step * 20_000).unwrap();
        assert!(lag >= SECOND && lag < 2 * SECOND, "{lag:?}");
    }
}
