//! Metrics of all sinks of events. Label children are resolved once.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Where events are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sink {
    /// Endpoints of other systems.
    Webhook,
    /// The stream in Redis.
    #[expect(dead_code, reason = "the stream brings its own deliveries")]
    Stream,
    /// NATS.
    #[expect(dead_code, reason = "NATS brings its own deliveries")]
    Nats,
}

/// Their names, in the order of [`Sink`].
const NAMES: [&str; 3] = ["webhook", "stream", "nats"];

/// The registered metrics.
#[derive(Debug)]
pub(crate) struct EventMetrics {
    pending: [IntGauge; NAMES.len()],
    deliveries: [Histogram; NAMES.len()],
}

impl EventMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let pending = IntGaugeVec::new(
            Opts::new(
                "flash_sale_events_pending",
                "Batches of events that a sink has not delivered yet, by sink.",
            ),
            &["sink"],
        )?;
        let deliveries = HistogramVec::new(
            HistogramOpts::new(
                "flash_sale_event_delivery_seconds",
                "Time from the writing of an event to its delivery, by sink.",
            )
            .buckets(vec![
                0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
                3600.0, 21_600.0, 86_400.0,
            ]),
            &["sink"],
        )?;
        registry.register(Box::new(pending.clone()))?;
        registry.register(Box::new(deliveries.clone()))?;
        Ok(Self {
            pending: NAMES.map(|name| pending.with_label_values(&[name])),
            deliveries: NAMES.map(|name| deliveries.with_label_values(&[name])),
        })
    }

    /// How far a sink is behind.
    pub(crate) fn pending(&self, sink: Sink, batches: i64) {
        self.pending[sink as usize].set(batches);
    }

    /// An event was delivered this long after it was written.
    pub(crate) fn delivered(&self, sink: Sink, took: Duration) {
        self.deliveries[sink as usize].observe(took.as_secs_f64());
    }
}
