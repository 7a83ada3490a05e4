//! Metrics of all sinks of events.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::application::ports::EventMetrics;

/// From a busy sale, over a pause of a sink, to a sink that was away for a day.
const BUCKETS: [f64; 19] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3_600.0, 21_600.0, 86_400.0,
];

/// The names of all sinks.
const SINKS: [&str; 3] = ["stream", "nats", "webhook"];

/// The registered metrics.
#[derive(Debug)]
pub(crate) struct PrometheusEventMetrics {
    pending: IntGaugeVec,
    delivery: HistogramVec,
    missed: IntCounterVec,
}

impl PrometheusEventMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let pending = Opts::new(
            "flash_sale_events_pending",
            "Events that a sink has not taken yet, by sink.",
        );
        let pending = IntGaugeVec::new(pending, &["sink"])?;
        registry.register(Box::new(pending.clone()))?;
        let delivery = HistogramOpts::new(
            "flash_sale_event_delivery_seconds",
            "Time from the writing of an event to its delivery, by sink.",
        );
        let delivery = HistogramVec::new(delivery.buckets(BUCKETS.to_vec()), &["sink"])?;
        registry.register(Box::new(delivery.clone()))?;
        let missed = Opts::new(
            "flash_sale_events_missed_total",
            "Events that were deleted before a sink had received them, by sink.",
        );
        let missed = IntCounterVec::new(missed, &["sink"])?;
        registry.register(Box::new(missed.clone()))?;
        // They exist before the first event.
        for sink in SINKS {
            missed.with_label_values(&[sink]);
            pending.with_label_values(&[sink]);
            delivery.with_label_values(&[sink]);
        }
        Ok(Self { pending, delivery, missed })
    }
}

impl EventMetrics for PrometheusEventMetrics {
    fn pending(&self, sink: &str, events: i64) {
        self.pending.with_label_values(&[sink]).set(events);
    }

    fn delivered(&self, sink: &str, after: Duration, events: usize) {
        let delivery = self.delivery.with_label_values(&[sink]);
        let seconds = after.as_secs_f64();
        (0..events).for_each(|_| delivery.observe(seconds));
    }

    fn missed(&self, sink: &str, events: u64) {
        self.missed.with_label_values(&[sink]).inc_by(events);
    }
}
