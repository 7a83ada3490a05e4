//! Metrics of the export.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Counts spans by what became of them.
#[derive(Debug, Clone)]
pub(crate) struct SpanMetrics {
    /// The collector has them.
    pub(crate) exported: IntCounter,
    /// The queue was full.
    pub(crate) queue_full: IntCounter,
    /// The collector did not take them.
    pub(crate) refused: IntCounter,
}

impl SpanMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Spans that the collector has received.";
        let exported = IntCounter::new("flash_sale_spans_exported_total", help)?;
        let help = "Spans that were dropped, by reason.";
        let dropped =
            IntCounterVec::new(Opts::new("flash_sale_spans_dropped_total", help), &["reason"])?;
        registry.register(Box::new(exported.clone()))?;
        registry.register(Box::new(dropped.clone()))?;
        let [queue_full, refused] =
            ["queue_full", "collector"].map(|reason| dropped.with_label_values(&[reason]));
        Ok(Self { exported, queue_full, refused })
    }
}
