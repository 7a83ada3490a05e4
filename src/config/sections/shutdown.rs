//! `shutdown.*`: the time limits of a shutdown.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{HOUR, SECOND};

/// `shutdown.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct ShutdownConfig {
    pub grace: Duration,
    pub drain: Duration,
}

impl ShutdownConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            grace: read.duration("shutdown.grace", Duration::ZERO..=HOUR),
            drain: read.duration("shutdown.drain", SECOND..=HOUR),
        }
    }
}
