//! How many clients follow sales.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};

use crate::application::live::Live;

/// The gauge of listeners, which is read when it is asked for.
struct LiveListeners {
    live: Arc<Live>,
    gauge: IntGauge,
}

/// Registers the metric.
pub(crate) fn register_live_listeners(
    registry: &Registry,
    live: &Arc<Live>,
) -> prometheus::Result<()> {
    let gauge =
        IntGauge::new("flash_sale_live_listeners", "Clients that follow a sale at this instance.")?;
    registry.register(Box::new(LiveListeners { live: Arc::clone(live), gauge }))
}

impl Collector for LiveListeners {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from(self.live.listeners()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}
