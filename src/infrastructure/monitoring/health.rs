//! Health: every check by its name, and the overall result.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::application::ports::{Health, HealthCheck};
use crate::config::Setting;

/// Whether the service accepts new requests.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    draining: AtomicBool,
}

impl Readiness {
    /// Makes the service not ready from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the service is shutting down.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The overall result of all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Overall {
    /// Everything works.
    Ok,
    /// A dependency is down that the service can do without.
    Degraded,
    /// A dependency is down that it needs.
    Failing,
    /// It is shutting down.
    Draining,
}

/// How much a body contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The state of each check, and why it is not up: for operators.
    Reasons,
    /// The state of each check: public. A reason may name servers, users and rights.
    States,
}

/// Runs the checks.
#[derive(Clone)]
pub(crate) struct HealthReport {
    checks: Arc<[Arc<dyn HealthCheck>]>,
    /// The first of them, which is public.
    public: usize,
    readiness: Arc<Readiness>,
    timeout: Setting<Duration>,
}

impl HealthReport {
    /// A check that takes longer than `timeout` counts as down.
    pub(crate) fn new(
        checks: Vec<Arc<dyn HealthCheck>>,
        readiness: Arc<Readiness>,
        timeout: Setting<Duration>,
    ) -> Self {
        Self { public: checks.len(), checks: checks.into(), readiness, timeout }
    }

    /// With further checks, whose names are for operators only.
    pub(crate) fn and_for_operators(self, more: Vec<Arc<dyn HealthCheck>>) -> Self {
        let checks = self.checks.iter().cloned().chain(more).collect();
        Self { checks, ..self }
    }

    /// Runs all checks; returns the overall result and the body that lists each check.
    pub(crate) async fn run(&self, detail: Detail) -> (Overall, Value) {
        let timeout = self.timeout.get();
        let checks = self.checks.iter().map(|check| async {
            let result = tokio::time::timeout(timeout, check.check()).await;
            result.unwrap_or_else(|_| Health::Down("the check takes too long".into()))
        });
        let results = futures_util::future::join_all(checks).await;
        let overall = self.overall(&results);
        let shown = if detail == Detail::Reasons { self.checks.len() } else { self.public };
        let described = self.checks.iter().zip(results).take(shown).map(|(check, health)| {
            (check.name().to_owned(), describe(&**check, health, detail).into())
        });
        let checks: Map<String, Value> = described.collect();
        (overall, json!({ "status": overall, "checks": checks }))
    }

    fn overall(&self, results: &[Health]) -> Overall {
        let any = |wanted: fn(&Health) -> bool| results.iter().any(wanted);
        if any(|health| matches!(health, Health::Down(_) | Health::NoWrites(_))) {
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

fn describe(check: &dyn HealthCheck, health: Health, detail: Detail) -> Map<String, Value> {
    let (status, why) = match health {
        Health::Up => ("up", None),
        Health::Degraded(why) => ("degraded", Some(why)),
        Health::NoWrites(why) => ("no_writes", Some(why)),
        Health::Down(why) => ("down", Some(why)),
    };
    let mut described = Map::new();
    described.insert("status".to_owned(), status.into());
    if detail == Detail::Reasons {
        described.extend(why.map(|why| ("message".to_owned(), why.into())));
        let details = check.details().into_iter();
        described.extend(details.map(|(name, value)| (name.to_owned(), value.into())));
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::ports::MockHealthCheck;

    fn check(name: &'static str, health: Health) -> Arc<dyn HealthCheck> {
        let mut check = MockHealthCheck::new();
        check.expect_name().return_const(name.to_owned());
        check.expect_check().returning(move || health.clone());
        check.expect_details().returning(|| vec![("release", "2026f".to_owned())]);
        Arc::new(check)
    }

    fn report(checks: Vec<Arc<dyn HealthCheck>>) -> HealthReport {
        let timeout = Setting::fixed(Duration::from_secs(1));
        HealthReport::new(checks, Arc::default(), timeout)
    }

    #[tokio::test]
    async fn an_optional_dependency_degrades_and_a_needed_one_fails() {
        let degraded = report(vec![check("redis", Health::Degraded("away".into()))]);
        let failing = report(vec![
            check("redis", Health::Degraded("away".into())),
            check("postgresql", Health::Down("away".into())),
        ]);

        assert_eq!(degraded.run(Detail::Reasons).await.0, Overall::Degraded);
        assert_eq!(failing.run(Detail::Reasons).await.0, Overall::Failing);
    }

    #[tokio::test]
    async fn every_check_is_reported_by_its_name() {
        let (_, body) = report(vec![check("postgresql", Health::Up)]).run(Detail::Reasons).await;

        assert_eq!(body["checks"]["postgresql"]["status"], "up");
    }

    #[tokio::test]
    async fn reasons_and_details_are_for_operators_only() {
        let report = report(vec![check("redis", Health::Degraded("wrong password".into()))]);

        let (_, for_operators) = report.run(Detail::Reasons).await;
        let (_, for_anybody) = report.run(Detail::States).await;

        let redis = &for_operators["checks"]["redis"];
        assert_eq!(redis["message"], "wrong password");
        assert_eq!(redis["release"], "2026f");
        assert_eq!(for_anybody["checks"]["redis"], json!({ "status": "degraded" }));
    }

    #[tokio::test]
    async fn checks_for_operators_count_for_all_and_are_named_to_operators_alone() {
        let replica = check("replica 10.0.0.7:5432", Health::Degraded("away".into()));
        let report = report(vec![check("postgresql", Health::Up)]).and_for_operators(vec![replica]);

        let (overall, for_anybody) = report.run(Detail::States).await;
        let (_, for_operators) = report.run(Detail::Reasons).await;

        assert_eq!(overall, Overall::Degraded);
        assert_eq!(for_operators["checks"]["replica 10.0.0.7:5432"]["status"], "degraded");
        assert!(!for_anybody.to_string().contains("10.0.0.7"), "{for_anybody}");
    }

    #[tokio::test]
    async fn a_draining_service_reports_it() {
        let report = report(vec![check("postgresql", Health::Up)]);
        report.readiness.drain();

        assert_eq!(report.run(Detail::Reasons).await.0, Overall::Draining);
    }
}
