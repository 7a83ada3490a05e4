//! When scheduled sales start: a cron expression with seconds, in a time zone.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;

use crate::application::ports::Calendar;
use crate::config::ScheduleConfig;

/// A cron expression in a time zone.
pub(crate) struct CronCalendar {
    cron: Option<Cron>,
    zone: Tz,
}

impl CronCalendar {
    /// The configured schedule.
    pub(crate) fn new(config: &ScheduleConfig) -> Self {
        Self { cron: config.cron.clone(), zone: config.time_zone }
    }
}

impl Calendar for CronCalendar {
    fn last_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = moment.with_timezone(&self.zone);
        let start = self.cron.as_ref()?.find_previous_occurrence(&local, true).ok()?;
        Some(start.with_timezone(&Utc))
    }

    fn next_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = moment.with_timezone(&self.zone);
        let start = self.cron.as_ref()?.find_next_occurrence(&local, false).ok()?;
        Some(start.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use croner::parser::{CronParser, Seconds};

    use super::*;

    fn calendar(cron: &str, zone: &str) -> CronCalendar {
        CronCalendar::new(&ScheduleConfig {
            enabled: true,
            cron: Some(
                CronParser::builder().seconds(Seconds::Required).build().parse(cron).unwrap(),
            ),
            time_zone: zone.parse().unwrap(),
            duration: Duration::from_hours(1),
            items: 1,
            stock: 1,
            buyer_limit: 1,
            interval: Duration::from_secs(1),
        })
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn at_ten_to_eleven_the_last_start_is_ten_and_the_next_eleven() {
        let calendar = calendar("0 0 * * * *", "UTC");
        let now = at("2026-11-20T10:50:17.25Z");

        assert_eq!(calendar.last_start(now), Some(at("2026-11-20T10:00:00Z")));
        assert_eq!(calendar.next_start(now), Some(at("2026-11-20T11:00:00Z")));
    }

    #[test]
    fn a_start_is_its_own_last_and_not_its_own_next() {
        let calendar = calendar("0 0 * * * *", "UTC");
        let now = at("2026-11-20T10:00:00Z");

        assert_eq!(calendar.last_start(now), Some(now));
        assert_eq!(calendar.next_start(now), Some(at("2026-11-20T11:00:00Z")));
    }

    #[test]
    fn seconds_and_time_zones_are_understood() {
        let calendar = calendar("30 15 9 * * *", "Europe/Berlin");

        assert_eq!(
            calendar.next_start(at("2026-07-01T00:00:00Z")),
            Some(at("2026-07-01T07:15:30Z"))
        );
    }
}
