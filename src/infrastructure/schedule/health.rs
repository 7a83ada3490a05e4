//! The rules of the schedule's time zone in `/healthz`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::application::compare_time_zones::CompareTimeZones;
use crate::application::ports::{Health, HealthCheck};
use crate::config::{Setting, TimeZoneRules};

/// Reports the release of the rules, and whether PostgreSQL has the same ones.
pub(crate) struct TimeZoneHealth {
    comparison: Arc<CompareTimeZones>,
    zone: Setting<String>,
}

impl TimeZoneHealth {
    pub(crate) fn new(comparison: Arc<CompareTimeZones>, zone: Setting<String>) -> Self {
        Self { comparison, zone }
    }
}

#[async_trait]
impl HealthCheck for TimeZoneHealth {
    fn name(&self) -> &'static str {
        "time_zone"
    }

    async fn check(&self) -> Health {
        match self.comparison.difference() {
            Some(difference) => Health::Degraded(format!("{}: {difference}", self.zone.get())),
            None => Health::Up,
        }
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let rules = TimeZoneRules::in_use();
        vec![
            ("name", self.zone.get()),
            ("release", rules.release_name().to_owned()),
            ("source", rules.source()),
        ]
    }
}
