//! `monitoring.*`: the port for Prometheus and health checks.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::config::units::{MINUTE, MS};

/// `monitoring.*`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "config/default.yaml documents every key")]
pub struct MonitoringConfig {
    pub host: String,
    pub port: u16,
    pub on_http_port: bool,
    pub check_timeout: Duration,
}

impl MonitoringConfig {
    pub(crate) fn read(read: &mut Reader) -> Self {
        Self {
            host: read.filled("monitoring.host"),
            port: read.number("monitoring.port", 0..=u16::MAX),
            on_http_port: read.flag("monitoring.on_http_port"),
            check_timeout: read.duration("monitoring.check_timeout", 10 * MS..=MINUTE),
        }
    }
}
