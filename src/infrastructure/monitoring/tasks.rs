//! The number of tasks in the runtime. It is constant in an idle service: a growing number is a leak.

use prometheus::{IntGauge, Registry};
use tokio::runtime::Handle;

/// Counts tasks for Prometheus.
#[derive(Clone)]
pub(crate) struct TaskCount {
    alive: IntGauge,
    runtime: Handle,
}

impl TaskCount {
    /// Registers the metric for the current runtime.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let alive = IntGauge::new("flash_sale_tasks", "Tasks that have not ended.")?;
        registry.register(Box::new(alive.clone()))?;
        Ok(Self { alive, runtime: Handle::current() })
    }

    /// Updates the gauge.
    pub(crate) fn observe(&self) {
        let alive = self.runtime.metrics().num_alive_tasks();
        self.alive.set(i64::try_from(alive).unwrap_or(i64::MAX));
    }
}
