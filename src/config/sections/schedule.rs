//! `schedule.*`: sales that open by themselves.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::config::reader::Reader;
use crate::config::time_zones::TimeZoneRules;
use crate::config::units::{DAY, MINUTE, MS, SECOND};
use crate::domain::sale::{MAX_BUYER_LIMIT, MAX_ITEMS, MAX_STOCK};

/// `schedule.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct ScheduleConfig {
    pub enabled: bool,
    /// `None` only in an invalid configuration, which [`Config::load`](crate::config::Config::load) does not return.
    pub cron: Option<Cron>,
    pub time_zone: TimeZone,
    pub duration: Duration,
    pub items: i32,
    pub stock: i32,
    pub buyer_limit: i32,
    pub interval: Duration,
}

impl ScheduleConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            enabled: read.flag("schedule.enabled"),
            cron: cron(read),
            time_zone: time_zone(read),
            duration: read.duration("schedule.duration", SECOND..=365 * DAY),
            items: read.number("schedule.items", 1..=MAX_ITEMS),
            stock: read.number("schedule.stock", 1..=MAX_STOCK),
            buyer_limit: read.number("schedule.buyer_limit", 1..=MAX_BUYER_LIMIT),
            interval: read.duration("schedule.interval", 10 * MS..=MINUTE),
        }
    }

    /// The IANA name of the time zone.
    #[must_use]
    pub fn time_zone_name(&self) -> &str {
        self.time_zone.iana_name().unwrap_or("UTC")
    }
}

/// Six fields with seconds, or five without.
fn cron(read: &mut Reader) -> Option<Cron> {
    const KEY: &str = "schedule.cron";
    let text = read.filled(KEY);
    let parse = |text: &str| CronParser::builder().seconds(Seconds::Optional).build().parse(text);
    match parse(&text) {
        Ok(cron) if cron.find_next_occurrence(&beginning(), false).is_ok() => {
            return Some(cron);
        }
        Ok(_) => read.fault(KEY, "must match at least one date"),
        Err(error) => read.fault(KEY, format!("is not a cron expression: {error}")),
    }
    None
}

/// A moment from which every expression that ever matches finds a match.
fn beginning() -> Zoned {
    Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC)
}

fn time_zone(read: &mut Reader) -> TimeZone {
    const KEY: &str = "schedule.time_zone";
    let name = read.filled(KEY);
    TimeZoneRules::in_use().zone(&name).unwrap_or_else(|| {
        read.fault(KEY, "must be the IANA name of a time zone");
        TimeZone::UTC
    })
}
