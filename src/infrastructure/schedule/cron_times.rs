//! Times of cron expressions with seconds, in time zones that have summer time.
//!
//! What happens when clocks are put forward or back is croner's rule, pinned by the tests here and told to operators in
//! `docs/jobs.md`: a fixed time that does not exist runs when the gap ends, a fixed time that exists twice runs the first time only, and
//! what repeats (`*`, steps, ranges) goes on with the time that passes.

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds};
use jiff::Timestamp;

use crate::application::ports::{CronTimes, InvalidTimes};
use crate::config::TimeZoneRules;

/// Computes times with croner and jiff.
pub(crate) struct CronerTimes;

impl CronTimes for CronerTimes {
    fn next(
        &self,
        cron: &str,
        time_zone: &str,
        moment: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, InvalidTimes> {
        let parser = CronParser::builder().seconds(Seconds::Required).build();
        let parsed = parser
            .parse(cron)
            .map_err(|error| InvalidTimes::Cron(cron.to_owned(), error.to_string()))?;
        let zone = TimeZoneRules::in_use().zone(time_zone);
        let zone = zone.ok_or_else(|| InvalidTimes::TimeZone(time_zone.to_owned()))?;
        let nanoseconds = moment.timestamp_subsec_nanos().cast_signed();
        let Ok(moment) = Timestamp::new(moment.timestamp(), nanoseconds) else { return Ok(None) };
        // Its only error is that it has found no date.
        let next = parsed.find_next_occurrence(&moment.to_zoned(zone), false).ok();
        Ok(next.and_then(|next| DateTime::from_timestamp(next.timestamp().as_second(), 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next times after a moment, in UTC.
    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let mut moment: DateTime<Utc> = after.parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..count {
            moment = CronerTimes.next(cron, zone, moment).unwrap().unwrap();
            times.push(moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
        }
        times
    }

    #[test]
    fn an_expression_has_six_fields_and_a_zone_that_exists() {
        let moment = DateTime::UNIX_EPOCH;
        for cron in ["", "* * * * *", "61 * * * * *", "whenever", "0 0 0 * * * * *"] {
            let invalid = CronerTimes.next(cron, "UTC", moment);
            assert!(matches!(invalid, Err(InvalidTimes::Cron(..))), "{cron}: {invalid:?}");
        }
        let unknown = CronerTimes.next("* * * * * *", "Mars/Base", moment);
        assert!(matches!(unknown, Err(InvalidTimes::TimeZone(_))), "{unknown:?}");
        assert_eq!(CronerTimes.next("0 0 0 30 2 *", "UTC", moment), Ok(None));
    }

    #[test]
    fn every_second_is_every_second() {
        let next = times("* * * * * *", "UTC", "2026-11-20T10:00:00.25Z", 2);

        assert_eq!(next, ["2026-11-20T10:00:01Z", "2026-11-20T10:00:02Z"]);
    }

    /// On 2026-03-29 Berlin has no time from 02:00 to 03:00.
    #[test]
    fn a_fixed_time_in_the_gap_of_spring_runs_when_the_gap_ends() {
        let next = times("0 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);

        assert_eq!(next, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    /// On 2026-10-25 Berlin has the times from 02:00 to 03:00 twice.
    #[test]
    fn a_fixed_time_that_autumn_repeats_runs_the_first_time_only() {
        let next = times("0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);

        assert_eq!(next, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn what_repeats_goes_on_with_the_time_that_passes() {
        let spring = times("0 */30 * * * *", "Europe/Berlin", "2026-03-29T00:10:00Z", 4);
        let autumn = times("0 0 2-3 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 3);

        let half_hours = ["00:30", "01:00", "01:30", "02:00"];
        assert_eq!(spring, half_hours.map(|time| format!("2026-03-29T{time}:00Z")));
        // Both two o'clocks, and three.
        let hours = ["00:00", "01:00", "02:00"];
        assert_eq!(autumn, hours.map(|time| format!("2026-10-25T{time}:00Z")));
    }

    /// Lord Howe puts its clocks forward by half an hour at 02:00 on 2026-10-04, and back at 02:00 on 2026-04-05.
    #[test]
    fn half_an_hour_of_summer_time_is_no_exception() {
        let forward = times("0 15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2);
        let back = times("0 45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2);

        assert_eq!(forward, ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
        assert_eq!(back, ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
    }

    #[test]
    fn a_day_of_the_month_and_a_weekday_are_alternatives() {
        let next = times("0 0 0 13 * FRI", "UTC", "2026-11-01T00:00:00Z", 3);

        // Fridays, and the thirteenth, which is one of them.
        let days = ["2026-11-06", "2026-11-13", "2026-11-20"];
        assert_eq!(next, days.map(|day| format!("{day}T00:00:00Z")));
    }
}
