//! What Redis's adapters tell Prometheus.

use prometheus::{IntGauge, Registry};

/// Whether Redis is there.
#[derive(Debug)]
pub(crate) struct RedisMetrics {
    up: IntGauge,
}

impl RedisMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let up = IntGauge::new("flash_sale_redis_up", "1 while Redis answers and takes, else 0.")?;
        registry.register(Box::new(up.clone()))?;
        Ok(Self { up })
    }

    pub(crate) fn set(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
    }
}
