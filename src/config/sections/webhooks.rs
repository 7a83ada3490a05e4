//! `webhooks.*`: endpoints of other systems that receive events.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{DAY, MINUTE, MS};

/// `webhooks.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct WebhooksConfig {
    pub allow_private: bool,
    pub ssl_root_cert: Option<PathBuf>,
    pub timeout: Duration,
    pub concurrency: usize,
    pub max_attempts: u32,
    pub disable_after: Duration,
}

impl WebhooksConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            allow_private: read.flag("webhooks.allow_private"),
            ssl_root_cert: read.file("webhooks.ssl_root_cert"),
            timeout: read.duration("webhooks.timeout", 100 * MS..=2 * MINUTE),
            concurrency: read.number("webhooks.concurrency", 1..=1000),
            max_attempts: read.number("webhooks.max_attempts", 2..=30),
            disable_after: read.duration("webhooks.disable_after", MINUTE..=90 * DAY),
        }
    }
}
