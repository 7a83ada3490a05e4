//! Health: every check by its name, and what they come to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::application::ports::{Health, HealthCheck};

/// Whether the service wants requests.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    draining: AtomicBool,
}

impl Readiness {
    /// From now on the service is not ready.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the service is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// What all checks come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Overall {
    /// Everything works.
    Ok,
    /// Something is away that the service can do without.
    Degraded,
    /// Something is away that it needs.
    Failing,
    /// It is about to end.
    Draining,
}

/// Runs the checks.
#[derive(Clone)]
pub(crate) struct HealthReport {
    checks: Arc<[Arc<dyn HealthCheck>]>,
    readiness: Arc<Readiness>,
    timeout: Duration,
}

impl HealthReport {
    /// A check that takes longer than `timeout` counts as down.
    pub(crate) fn new(
        checks: Vec<Arc<dyn HealthCheck>>,
        readiness: Arc<Readiness>,
        timeout: Duration,
    ) -> Self {
        Self { checks: checks.into(), readiness, timeout }
    }

    /// Runs all checks, and tells them one by one.
    pub(crate) async fn look(&self) -> (Overall, Value) {
        let looks = self.checks.iter().map(|check| async {
            let look = tokio::time::timeout(self.timeout, check.check()).await;
            (check.name(), look.unwrap_or_else(|_| Health::Down("the check takes too long".into())))
        });
        let results = futures_util::future::join_all(looks).await;
        let overall = self.overall(&results);
        let checks: Map<String, Value> =
            results.into_iter().map(|(name, health)| (name.to_owned(), describe(health))).collect();
        (overall, json!({ "status": overall, "checks": checks }))
    }

    fn overall(&self, results: &[(&'static str, Health)]) -> Overall {
        let any = |wanted: fn(&Health) -> bool| results.iter().any(|(_, health)| wanted(health));
        if any(|health| matches!(health, Health::Down(_))) {
            Overall::Failing
        } else if self.readiness.is_draining() {
            Overall::Draining
        } else if any(|health| matches!(health, Health::Degraded(_))) {
            Overall::Degraded
        } else {
            Overall::Ok
        }
    }
}

fn describe(health: Health) -> Value {
    match health {
        Health::Up => json!({ "status": "up" }),
        Health::Degraded(why) => json!({ "status": "degraded", "message": why }),
        Health::Down(why) => json!({ "status": "down", "message": why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MockHealthCheck;

    fn check(name: &'static str, health: Health) -> Arc<dyn HealthCheck> {
        let mut check = MockHealthCheck::new();
        check.expect_name().return_const(name);
        check.expect_check().returning(move || health.clone());
        Arc::new(check)
    }

    fn report(checks: Vec<Arc<dyn HealthCheck>>) -> HealthReport {
        HealthReport::new(checks, Arc::default(), Duration::from_secs(1))
    }

    #[tokio::test]
    async fn what_is_only_liked_degrades_and_what_is_needed_fails() {
        let degraded = report(vec![check("redis", Health::Degraded("away".into()))]);
        let failing = report(vec![
            check("redis", Health::Degraded("away".into())),
            check("postgresql", Health::Down("away".into())),
        ]);

        assert_eq!(degraded.look().await.0, Overall::Degraded);
        assert_eq!(failing.look().await.0, Overall::Failing);
    }

    #[tokio::test]
    async fn every_check_is_told_by_its_name() {
        let (_, body) = report(vec![check("postgresql", Health::Up)]).look().await;

        assert_eq!(body["checks"]["postgresql"]["status"], "up");
    }

    #[tokio::test]
    async fn a_draining_service_says_so() {
        let report = report(vec![check("postgresql", Health::Up)]);
        report.readiness.drain();

        assert_eq!(report.look().await.0, Overall::Draining);
    }
}
