//! When scheduled sales start: a cron expression with seconds, in a time zone. [`cron_times`]: the same for schedules of jobs.

mod cron_times;
mod health;

use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, NaiveDateTime, Utc};
use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

pub(crate) use cron_times::CronerTimes;
pub(crate) use health::TimeZoneHealth;

use crate::application::ports::Calendar;
use crate::config::ScheduleConfig;

/// A cron expression in a time zone.
pub(crate) struct CronCalendar {
    rule: ArcSwap<Rule>,
}

struct Rule {
    cron: Option<Cron>,
    zone: TimeZone,
}

impl Rule {
    fn of(config: &ScheduleConfig) -> Self {
        Self { cron: config.cron.clone(), zone: config.time_zone.clone() }
    }

    fn local(&self, moment: DateTime<Utc>) -> Option<Zoned> {
        let nanoseconds = moment.timestamp_subsec_nanos().cast_signed();
        let moment = Timestamp::new(moment.timestamp(), nanoseconds).ok()?;
        Some(moment.to_zoned(self.zone.clone()))
    }
}

impl CronCalendar {
    /// The configured schedule.
    pub(crate) fn new(config: &ScheduleConfig) -> Self {
        Self { rule: ArcSwap::from_pointee(Rule::of(config)) }
    }

    /// Goes by another schedule from now on.
    pub(crate) fn replace(&self, config: &ScheduleConfig) {
        self.rule.store(Arc::new(Rule::of(config)));
    }
}

/// Starts are whole seconds.
fn utc(start: &Zoned) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(start.timestamp().as_second(), 0)
}

impl Calendar for CronCalendar {
    fn last_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let rule = self.rule.load();
        utc(&rule.cron.as_ref()?.find_previous_occurrence(&rule.local(moment)?, true).ok()?)
    }

    fn next_start(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let rule = self.rule.load();
        utc(&rule.cron.as_ref()?.find_next_occurrence(&rule.local(moment)?, false).ok()?)
    }

    fn local_time(&self, moment: DateTime<Utc>) -> NaiveDateTime {
        let offset = self.rule.load().local(moment).map_or(0, |local| local.offset().seconds());
        moment.naive_utc() + chrono::Duration::seconds(offset.into())
    }

    fn shown(&self, moment: DateTime<Utc>) -> String {
        let zone = self.rule.load().local(moment).map(|local| local.strftime("%Z").to_string());
        let zone = zone.unwrap_or_else(|| "UTC".to_owned());
        format!("{} {zone}", self.local_time(moment).format("%Y-%m-%d %H:%M:%S"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use croner::parser::{CronParser, Seconds};

    use super::*;
    use crate::config::TimeZoneRules;
    use crate::testing::servers::PostgresShop;

    /// What PostgreSQL reads on this system.
    const SYSTEM: &str = "/usr/share/zoneinfo";
    /// Files in that folder that PostgreSQL lists and that name no zone of the database.
    const FILES: [&str; 3] = ["Factory", "localtime", "posixrules"];
    const NAMES: &str = "SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right)/'";
    /// Noon of each day of 2026 and 2027 in a time zone.
    const NOONS: &str = r"
        WITH zone AS MATERIALIZED (SELECT set_config('TimeZone', $1, true))
        SELECT d.noon::timestamptz
        FROM zone CROSS JOIN generate_series(
            timestamp '2026-01-01 12:00', timestamp '2027-12-31 12:00', interval '1 day'
        ) AS d(noon)
        ORDER BY d.noon
    ";

    fn calendar(cron: &str, zone: &str) -> CronCalendar {
        in_zone(cron, TimeZoneRules::in_use().zone(zone).unwrap())
    }

    fn in_zone(cron: &str, zone: TimeZone) -> CronCalendar {
        CronCalendar::new(&ScheduleConfig {
            enabled: true,
            cron: Some(
                CronParser::builder().seconds(Seconds::Required).build().parse(cron).unwrap(),
            ),
            time_zone: zone,
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

    #[test]
    fn noon_in_vancouver_follows_the_rules_of_2026() {
        let calendar = calendar("0 0 12 * * *", "America/Vancouver");

        assert_eq!(
            calendar.next_start(at("2026-12-01T00:00:00Z")),
            Some(at("2026-12-01T19:00:00Z"))
        );
    }

    #[test]
    fn a_moment_is_shown_in_the_time_zone_of_the_schedule() {
        let moment = at("2026-07-01T07:15:30Z");

        assert_eq!(calendar("0 0 * * * *", "UTC").shown(moment), "2026-07-01 07:15:30 UTC");
        assert_eq!(
            calendar("0 0 * * * *", "Europe/Berlin").shown(moment),
            "2026-07-01 09:15:30 CEST"
        );
    }

    #[tokio::test]
    async fn a_schedule_opens_at_noon_of_every_zone_by_the_rules_that_postgresql_has() {
        let shop = PostgresShop::open().await;
        let rules = TimeZoneRules::of_folder(Path::new(SYSTEM)).unwrap();
        let names: Vec<String> = sqlx::query_scalar(NAMES).fetch_all(&shop.pool).await.unwrap();
        assert!(names.len() > 400, "{} time zones", names.len());

        let mut unknown = Vec::new();
        for name in names {
            let Some(zone) = rules.zone(&name) else {
                unknown.push(name);
                continue;
            };
            let calendar = in_zone("0 0 12 * * *", zone);
            let noons = sqlx::query_scalar(NOONS).bind(&name);
            let noons: Vec<DateTime<Utc>> = noons.fetch_all(&shop.pool).await.unwrap();
            let mut moment = noons[0] - chrono::Duration::seconds(1);
            for noon in noons {
                let start = calendar.next_start(moment).unwrap();
                assert_eq!(start, noon, "{name}");
                moment = start;
            }
        }
        unknown.retain(|name| !FILES.contains(&name.as_str()));
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
