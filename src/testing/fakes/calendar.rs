//! A schedule with a fixed period.

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::application::ports::Calendar;

/// Sales start at the multiples of this period since 1970.
pub(crate) struct FakeCalendar {
    pub(crate) period_seconds: i64,
}

impl FakeCalendar {
    fn start(&self, number: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(number * self.period_seconds, 0)
    }
}

impl Calendar for FakeCalendar {
    fn last_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.start(moment.timestamp().div_euclid(self.period_seconds))
    }

    fn next_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.start(moment.timestamp().div_euclid(self.period_seconds) + 1)
    }

    fn local_time(&self, moment: DateTime<Utc>) -> NaiveDateTime {
        moment.naive_utc()
    }

    fn shown(&self, moment: DateTime<Utc>) -> String {
        format!("{} UTC", moment.format("%Y-%m-%d %H:%M:%S"))
    }
}
