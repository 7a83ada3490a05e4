//! `schedule.*`: sales that open by themselves.

use std::time::Duration;

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use crate::config::reader::Reader;
use crate::config::units::{DAY, MINUTE, MS, SECOND};
use crate::domain::sale::{MAX_BUYER_LIMIT, MAX_ITEMS, MAX_STOCK};

/// `schedule.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct ScheduleConfig {
    pub enabled: bool,
    /// `None` only in an invalid configuration, which [`Config::load`](crate::config::Config::load) does not return.
    pub cron: Option<Cron>,
    pub time_zone: Tz,
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
}

/// Six fields with seconds, or five without.
fn cron(read: &mut Reader) -> Option<Cron> {
    const KEY: &str = "schedule.cron";
    let text = read.filled(KEY);
    let parse = |text: &str| CronParser::builder().seconds(Seconds::Optional).build().parse(text);
    match parse(&text) {
        Ok(cron) if cron.find_next_occurrence(&DateTime::UNIX_EPOCH, false).is_ok() => {
            return Some(cron);
        }
        Ok(_) => read.fault(KEY, "must match at least one date"),
        Err(error) => read.fault(KEY, format!("is not a cron expression: {error}")),
    }
    None
}

fn time_zone(read: &mut Reader) -> Tz {
    const KEY: &str = "schedule.time_zone";
    read.filled(KEY).parse().unwrap_or_else(|_| {
        read.fault(KEY, "must be the IANA name of a time zone");
        Tz::UTC
    })
}
