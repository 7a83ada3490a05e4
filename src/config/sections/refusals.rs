//! `refusals.*`: the record of refused attempts.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{MS, SECOND};

/// `refusals.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct RefusalsConfig {
    pub flush_interval: Duration,
    pub max_details: usize,
    pub details_per_flush: usize,
}

impl RefusalsConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            flush_interval: read.duration("refusals.flush_interval", 10 * MS..=SECOND),
            max_details: read.number("refusals.max_details", 0..=1_000_000),
            details_per_flush: read.number("refusals.details_per_flush", 0..=1_000_000),
        }
    }
}
