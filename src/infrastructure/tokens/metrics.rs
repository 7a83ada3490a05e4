//! What is measured of the keys of tokens.

use prometheus::{IntCounterVec, Opts, Registry};

/// Readings of key sets.
#[derive(Debug, Clone)]
pub(crate) struct TokenMetrics {
    readings: IntCounterVec,
}

impl TokenMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Readings of the key set of buyers' tokens: changed, unchanged, failed.";
        let opts = Opts::new("flash_sale_token_key_readings_total", help);
        let readings = IntCounterVec::new(opts, &["outcome"])?;
        registry.register(Box::new(readings.clone()))?;
        for outcome in ["changed", "unchanged", "failed"] {
            readings.with_label_values(&[outcome]);
        }
        Ok(Self { readings })
    }

    pub(super) fn read(&self, outcome: &'static str) {
        self.readings.with_label_values(&[outcome]).inc();
    }
}
