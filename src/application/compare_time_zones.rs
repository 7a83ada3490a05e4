//! Compare time zones: whether PostgreSQL has the same rules as the schedule.
//!
//! Sales open by the rules of the schedule alone. Where PostgreSQL's differ, one of both is out of date: queries by an operator
//! would show other local times than those at which sales open, or sales open at the wrong local time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::ports::{Calendar, Clock, LocalTimes, PortError};

/// The time that is compared.
const AHEAD: Duration = Duration::from_hours(2 * 365 * 24);
/// Other rules differ for weeks at least.
const STEP: Duration = Duration::from_hours(6);

/// The first moment whose local time differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The moment.
    pub at: DateTime<Utc>,
    /// Its local time in the schedule.
    pub schedule: NaiveDateTime,
    /// Its local time in PostgreSQL; `None` if PostgreSQL does not know the time zone.
    pub database: Option<NaiveDateTime>,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, schedule, database } = self;
        let at = at.format("%Y-%m-%dT%H:%M:%SZ");
        match database {
            Some(database) => write!(
                out,
                "from {at} on it is {schedule} by the rules of the schedule, and {database} by those of postgresql: \
                 update the older ones (package tzdata)"
            ),
            None => write!(
                out,
                "postgresql does not know this time zone: update its rules (package tzdata)"
            ),
        }
    }
}

/// Compares the rules, and keeps the result.
pub struct CompareTimeZones {
    calendar: Arc<dyn Calendar>,
    database: Arc<dyn LocalTimes>,
    clock: Arc<dyn Clock>,
    found: Mutex<Option<Difference>>,
}

impl CompareTimeZones {
    /// Compares the rules of the schedule's time zone with PostgreSQL's.
    #[must_use]
    pub fn new(
        calendar: Arc<dyn Calendar>,
        database: Arc<dyn LocalTimes>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { calendar, database, clock, found: Mutex::default() }
    }

    /// What the last comparison found.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Compares. Returns a difference that the last comparison did not find.
    pub async fn execute(&self) -> Result<Option<Difference>, PortError> {
        let Some(reading) = self.clock.database() else {
            return Ok(None);
        };
        let moments = moments_from(reading.at);
        let database = self.database.local_times(&moments).await?;
        let found = self.first_difference(&moments, database.as_deref());
        let mut last = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *last != found;
        last.clone_from(&found);
        Ok(found.filter(|_| is_new))
    }

    fn first_difference(
        &self,
        moments: &[DateTime<Utc>],
        database: Option<&[NaiveDateTime]>,
    ) -> Option<Difference> {
        let difference = |at: DateTime<Utc>, database| Difference {
            at,
            schedule: self.calendar.local_time(at),
            database,
        };
        let Some(database) = database else {
            return moments.first().map(|at| difference(*at, None));
        };
        moments
            .iter()
            .zip(database)
            .map(|(at, local)| difference(*at, Some(*local)))
            .find(|found| Some(found.schedule) != found.database)
    }
}

/// Every six hours, beginning with the last one before `now`.
fn moments_from(now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let step = STEP.as_secs().cast_signed();
    let first = now.timestamp().div_euclid(step) * step;
    let last = first + AHEAD.as_secs().cast_signed();
    let seconds = std::iter::successors(Some(first), |second| Some(second + step));
    seconds
        .take_while(|second| *second < last)
        .filter_map(|second| DateTime::from_timestamp(second, 0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MockLocalTimes;
    use crate::testing::builders::at;
    use crate::testing::fakes::{FakeCalendar, FakeClock};

    /// PostgreSQL's local times: those of the schedule, but an hour later from the second moment on.
    fn other_rules() -> MockLocalTimes {
        let mut database = MockLocalTimes::new();
        database.expect_local_times().returning(|moments| {
            let later = |place| chrono::Duration::hours(i64::from(place > 0));
            let shown = moments.iter().enumerate();
            Ok(Some(shown.map(|(place, at)| at.naive_utc() + later(place)).collect()))
        });
        database
    }

    fn same_rules() -> MockLocalTimes {
        let mut database = MockLocalTimes::new();
        database
            .expect_local_times()
            .returning(|moments| Ok(Some(moments.iter().map(DateTime::naive_utc).collect())));
        database
    }

    fn unknown_zone() -> MockLocalTimes {
        let mut database = MockLocalTimes::new();
        database.expect_local_times().returning(|_| Ok(None));
        database
    }

    fn comparison(database: MockLocalTimes) -> CompareTimeZones {
        CompareTimeZones::new(
            Arc::new(FakeCalendar { period_seconds: 3_600 }),
            Arc::new(database),
            FakeClock::at(at(10)),
        )
    }

    #[tokio::test]
    async fn the_same_rules_are_no_difference() {
        let comparison = comparison(same_rules());

        assert_eq!(comparison.execute().await.unwrap(), None);
        assert_eq!(comparison.difference(), None);
    }

    #[tokio::test]
    async fn other_rules_are_told_once_from_the_moment_on_at_which_they_differ() {
        let comparison = comparison(other_rules());

        let first = comparison.execute().await.unwrap().unwrap();
        let second = comparison.execute().await.unwrap();

        assert_eq!((first.at, second), (at(6 * 3_600), None));
        assert_eq!(comparison.difference(), Some(first));
    }

    #[tokio::test]
    async fn a_zone_that_the_database_does_not_know_is_a_difference() {
        let comparison = comparison(unknown_zone());

        let found = comparison.execute().await.unwrap().unwrap();

        assert!(found.to_string().contains("does not know this time zone"), "{found}");
    }
}
