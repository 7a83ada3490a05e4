//! Metrics of the Redis adapters.

use prometheus::{IntGauge, Registry};

/// Whether Redis is available.
#[derive(Debug)]
pub(crate) struct RedisMetrics {
    up: IntGauge,
}

impl RedisMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "1 while Redis answers and accepts writes, else 0.";
        let up = IntGauge::new("flash_sale_redis_up", help)?;
        registry.register(Box::new(up.clone()))?;
        Ok(Self { up })
    }

    pub(crate) fn set(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
    }
}
