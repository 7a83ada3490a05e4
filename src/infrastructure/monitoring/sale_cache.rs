//! How much the sale cache has in memory.

use prometheus::{IntGauge, Registry};

use crate::application::sale_cache::SaleCacheUsage;

/// The gauges of the sale cache.
#[derive(Clone)]
pub(crate) struct SaleCacheMetrics {
    sales: IntGauge,
    catalogues: IntGauge,
    item_bytes: IntGauge,
}

impl SaleCacheMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            sales: gauge("flash_sale_cached_sales", "Sales in memory.")?,
            catalogues: gauge("flash_sale_cached_catalogues", "Sales whose items are in memory.")?,
            item_bytes: gauge("flash_sale_cached_item_bytes", "Bytes of the items in memory.")?,
        })
    }

    /// Updates the gauges.
    pub(crate) fn observe(&self, usage: SaleCacheUsage) {
        let set = |gauge: &IntGauge, value| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.sales, usage.sales);
        set(&self.catalogues, usage.catalogues);
        set(&self.item_bytes, usage.item_bytes);
    }
}
