//! `jobs.*`: work outside of requests.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{DAY, HOUR, MINUTE, MS, SECOND};

/// `jobs.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct JobsConfig {
    pub enabled: bool,
    pub workers: usize,
    pub timeout: Duration,
    pub max_attempts: u16,
    pub poll_interval: Duration,
    pub keep_done: Duration,
    pub keep_dead: Duration,
}

impl JobsConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        let workers: u16 = read.number("jobs.workers", 1..=1_000);
        Self {
            enabled: read.flag("jobs.enabled"),
            workers: workers.into(),
            timeout: read.duration("jobs.timeout", SECOND..=DAY),
            max_attempts: read.number("jobs.max_attempts", 1..=100),
            poll_interval: read.duration("jobs.poll_interval", 5 * MS..=MINUTE),
            keep_done: read.duration("jobs.keep_done", SECOND..=365 * DAY),
            keep_dead: read.duration("jobs.keep_dead", HOUR..=3_650 * DAY),
        }
    }
}
