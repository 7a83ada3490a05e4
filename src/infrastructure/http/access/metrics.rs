//! What is counted of access.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::application::ports::LimitedBy;
use crate::infrastructure::http::middleware::auth_metrics::{AuthKind, AuthMetrics, AuthOutcome};

/// Counters of requests.
pub(crate) struct AccessMetrics {
    auth: Arc<AuthMetrics>,
    limited: [IntCounter; LimitedBy::ALL.len()],
}

impl AccessMetrics {
    /// Registers the metrics.
    pub(crate) fn register(
        registry: &Registry,
        auth: Arc<AuthMetrics>,
    ) -> prometheus::Result<Self> {
        let help = "Requests that a rate limit has refused, by what they are counted by.";
        let opts = Opts::new("flash_sale_rate_limited_total", help);
        let limited = IntCounterVec::new(opts, &["by"])?;
        registry.register(Box::new(limited.clone()))?;
        let limited = LimitedBy::ALL.map(|by| limited.with_label_values(&[by.as_str()]));
        Ok(Self { auth, limited })
    }

    pub(super) fn credential(&self, kind: AuthKind, outcome: AuthOutcome) {
        self.auth.count(kind, outcome);
    }

    pub(super) fn limited(&self, by: LimitedBy) {
        self.limited[by as usize].inc();
    }
}
