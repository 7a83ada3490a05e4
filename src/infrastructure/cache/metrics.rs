//! Metrics of the Redis adapters.

use prometheus::{IntGauge, Registry};

/// Whether Redis is available, and whether it permits everything.
#[derive(Debug)]
pub(crate) struct RedisMetrics {
    up: IntGauge,
    missing_rights: IntGauge,
}

impl RedisMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "1 while Redis answers and accepts writes, else 0.";
        let up = IntGauge::new("flash_sale_redis_up", help)?;
        registry.register(Box::new(up.clone()))?;
        let help = "Rights that the service needs and Redis refuses; /healthz names them.";
        let missing_rights = IntGauge::new("flash_sale_redis_missing_rights", help)?;
        registry.register(Box::new(missing_rights.clone()))?;
        Ok(Self { up, missing_rights })
    }

    pub(crate) fn set(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
    }

    pub(crate) fn set_missing_rights(&self, count: usize) {
        self.missing_rights.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
