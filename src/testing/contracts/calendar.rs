//! What every [`Calendar`] guarantees.

use crate::application::ports::Calendar;
use crate::testing::builders::at;

/// Nine o'clock on the first day of 1970.
const NINE: i64 = 9 * 3_600;

/// A calendar whose sales start every hour, on the hour.
fn starts_follow_each_other_without_gap_or_overlap(hourly: &dyn Calendar) {
    for second in [0, 1, 1_800, 3_599] {
        let moment = at(NINE + second);

        assert_eq!(hourly.last_start(moment), Some(at(NINE)), "{moment}");
        assert_eq!(hourly.next_start(moment), Some(at(NINE + 3_600)), "{moment}");
    }
}

/// A calendar whose sales start every hour, on the hour.
fn a_microsecond_before_a_start_the_one_before_it_is_the_last(hourly: &dyn Calendar) {
    let moment = at(NINE) - chrono::Duration::microseconds(1);

    assert_eq!(hourly.last_start(moment), Some(at(NINE - 3_600)));
    assert_eq!(hourly.next_start(moment), Some(at(NINE)));
}

/// A calendar in UTC.
fn local_times_are_those_of_its_time_zone(calendar: &dyn Calendar) {
    assert_eq!(calendar.local_time(at(NINE)), at(NINE).naive_utc());
    assert_eq!(calendar.shown(at(NINE)), "1970-01-01 09:00:00 UTC");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use croner::parser::{CronParser, Seconds};

    use super::*;
    use crate::config::ScheduleConfig;
    use crate::infrastructure::schedule::CronCalendar;
    use crate::testing::fakes::FakeCalendar;

    fn calendars() -> [Box<dyn Calendar>; 2] {
        let config = ScheduleConfig {
            enabled: true,
            cron: CronParser::builder()
                .seconds(Seconds::Required)
                .build()
                .parse("0 0 * * * *")
                .ok(),
            time_zone: jiff::tz::TimeZone::UTC,
            duration: Duration::from_hours(1),
            items: 1,
            stock: 1,
            buyer_limit: 1,
            interval: Duration::from_secs(1),
        };
        let cron = CronCalendar::new(&config);
        [Box::new(FakeCalendar { period_seconds: 3_600 }), Box::new(cron)]
    }

    #[test]
    fn starts_follow_each_other() {
        for calendar in calendars() {
            starts_follow_each_other_without_gap_or_overlap(&*calendar);
        }
    }

    #[test]
    fn local_times() {
        for calendar in calendars() {
            local_times_are_those_of_its_time_zone(&*calendar);
        }
    }

    #[test]
    fn just_before_a_start_it_is_still_the_next() {
        for calendar in calendars() {
            a_microsecond_before_a_start_the_one_before_it_is_the_last(&*calendar);
        }
    }
}
