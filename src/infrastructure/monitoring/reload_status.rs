//! The last reload of the configuration: counted, and in `/healthz`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::application::ports::{Clock, Health, HealthCheck};

/// What became of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReloadOutcome {
    /// The configuration has changed.
    Applied,
    /// It is the same as before.
    Unchanged,
    /// It is not valid, so the one before stays.
    Refused,
}

impl ReloadOutcome {
    const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// Remembers the last reload.
pub(crate) struct ReloadStatus {
    reloads: [IntCounter; ReloadOutcome::ALL.len()],
    clock: Arc<dyn Clock>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    outcome: Option<ReloadOutcome>,
    /// By the database's clock; `None` while it is not known.
    at: Option<String>,
    why: Option<String>,
    needs_restart: String,
}

impl ReloadStatus {
    /// Registers the metric.
    pub(crate) fn register(registry: &Registry, clock: Arc<dyn Clock>) -> prometheus::Result<Self> {
        let reloads = IntCounterVec::new(
            Opts::new(
                "flash_sale_config_reloads_total",
                "Reloads of the configuration, by what became of them.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(reloads.clone()))?;
        let reloads =
            ReloadOutcome::ALL.map(|outcome| reloads.with_label_values(&[outcome.as_str()]));
        Ok(Self { reloads, clock, last: Mutex::default() })
    }

    /// Counts a reload. `why` it was refused must not contain secrets.
    pub(crate) fn record(&self, outcome: ReloadOutcome, why: Option<String>) {
        self.reloads[outcome as usize].inc();
        let at = self.clock.database().map(|reading| reading.at.to_rfc3339());
        let mut last = self.last();
        (last.outcome, last.at, last.why) = (Some(outcome), at, why);
    }

    /// The files are again what is in force.
    pub(crate) fn forget_refusal(&self) {
        self.last().why = None;
    }

    /// The changed keys that wait for a restart, separated by commas.
    pub(crate) fn needs_restart(&self, keys: String) {
        self.last().needs_restart = keys;
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HealthCheck for ReloadStatus {
    fn name(&self) -> &'static str {
        "configuration"
    }

    async fn check(&self) -> Health {
        match &self.last().why {
            Some(why) => Health::Degraded(why.clone()),
            None => Health::Up,
        }
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let last = self.last();
        let outcome = last.outcome.map_or("none", ReloadOutcome::as_str);
        let mut details = vec![("last_reload", outcome.to_owned())];
        details.extend(last.at.clone().map(|at| ("last_reload_at", at)));
        if !last.needs_restart.is_empty() {
            details.push(("needs_restart", last.needs_restart.clone()));
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::at;
    use crate::testing::fakes::FakeClock;

    fn status() -> ReloadStatus {
        ReloadStatus::register(&Registry::new(), FakeClock::at(at(0))).unwrap()
    }

    #[tokio::test]
    async fn a_refused_reload_degrades_until_the_next_one_that_is_valid() {
        let status = status();

        status.record(ReloadOutcome::Refused, Some("log.level: no".to_owned()));
        let refused = status.check().await;
        status.record(ReloadOutcome::Applied, None);

        assert_eq!(refused, Health::Degraded("log.level: no".to_owned()));
        assert_eq!(status.check().await, Health::Up);
        assert!(status.details().contains(&("last_reload", "applied".to_owned())));
    }

    #[tokio::test]
    async fn keys_that_wait_for_a_restart_are_named() {
        let status = status();

        status.needs_restart("http.port".to_owned());

        assert!(status.details().contains(&("needs_restart", "http.port".to_owned())));
        assert!(status.details().contains(&("last_reload", "none".to_owned())));
    }
}
