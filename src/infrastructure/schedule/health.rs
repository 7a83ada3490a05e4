//! The rules of the schedule's time zone in `/healthz`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::application::compare_time_zones::CompareTimeZones;
use crate::application::ports::{Health, HealthCheck};
use crate::config::{ScheduleConfig, TimeZoneRules};

/// Reports the release of the rules, and whether PostgreSQL has the same ones.
pub(crate) struct TimeZoneHealth {
    comparison: Arc<CompareTimeZones>,
    zone: String,
}

impl TimeZoneHealth {
    pub(crate) fn new(comparison: Arc<CompareTimeZones>, config: &ScheduleConfig) -> Self {
        Self { comparison, zone: config.time_zone_name().to_owned() }
    }
}

#[async_trait]
impl HealthCheck for TimeZoneHealth {
    fn name(&self) -> &'static str {
        "time_zone"
    }

    async fn check(&self) -> Health {
        match self.comparison.difference() {
            Some(difference) => Health::Degraded(format!("{}: {difference}", self.zone)),
            None => Health::Up,
        }
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let rules = TimeZoneRules::in_use();
        vec![
            ("name", self.zone.clone()),
            ("release", rules.release_name().to_owned()),
            ("source", rules.source()),
        ]
    }
}
