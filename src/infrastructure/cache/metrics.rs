//! What Redis's adapters tell Prometheus.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

/// Whether Redis is there.
#[derive(Debug)]
pub(crate) struct RedisMetrics {
    up: IntGauge,
    closed: IntGauge,
    open: IntGauge,
}

impl RedisMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let up = IntGauge::new("flash_sale_redis_up", "1 while Redis answers, else 0.")?;
        let circuit = IntGaugeVec::new(
            Opts::new(
                "flash_sale_circuit_state",
                "1 for the state that the circuit to a dependency is in; open: callers go on without it.",
            ),
            &["dependency", "state"],
        )?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(circuit.clone()))?;
        Ok(Self {
            up,
            closed: circuit.with_label_values(&["redis", "closed"]),
            open: circuit.with_label_values(&["redis", "open"]),
        })
    }

    pub(super) fn set(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
        self.closed.set(i64::from(is_up));
        self.open.set(i64::from(!is_up));
    }
}
