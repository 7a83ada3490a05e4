//! Metrics of batches and their queues.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::application::ports::{BatchTotals, SellingBatches};

/// The queues of what sells.
const SELLING: [&str; 2] = [CHECKOUT, PURCHASE];
/// The queue of checkouts.
pub(crate) const CHECKOUT: &str = "checkout";
/// The queue of purchases.
pub(crate) const PURCHASE: &str = "purchase";

/// Metrics of all queues. Each queue resolves its children once.
#[derive(Clone)]
pub(crate) struct BatchMetrics {
    size: HistogramVec,
    depth: IntGaugeVec,
    wait: HistogramVec,
}

/// Metrics of one queue.
#[derive(Clone)]
pub(crate) struct QueueMetrics {
    pub(crate) size: Histogram,
    pub(crate) depth: IntGauge,
    pub(crate) wait: Histogram,
}

impl BatchMetrics {
    /// Registers the metrics.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let sizes = vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
        let waits = vec![
            0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
            2.5, 5.0,
        ];
        let metrics = Self {
            size: HistogramVec::new(
                HistogramOpts::new("flash_sale_batch_size", "Requests in one batch.")
                    .buckets(sizes),
                &["queue"],
            )?,
            depth: IntGaugeVec::new(
                Opts::new("flash_sale_queue_depth", "Requests that wait for a batch."),
                &["queue"],
            )?,
            wait: HistogramVec::new(
                HistogramOpts::new(
                    "flash_sale_queue_wait_seconds",
                    "Time that requests waited for their batch.",
                )
                .buckets(waits),
                &["queue"],
            )?,
        };
        registry.register(Box::new(metrics.size.clone()))?;
        registry.register(Box::new(metrics.depth.clone()))?;
        registry.register(Box::new(metrics.wait.clone()))?;
        Ok(metrics)
    }

    /// The batches of a queue.
    fn of_queue(&self, queue: &str) -> BatchTotals {
        let sizes = self.size.with_label_values(&[queue]);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a sum of sizes is a whole number"
        )]
        BatchTotals { requests: sizes.get_sample_sum() as u64, batches: sizes.get_sample_count() }
    }

    pub(crate) fn queue(&self, name: &str) -> QueueMetrics {
        QueueMetrics {
            size: self.size.with_label_values(&[name]),
            depth: self.depth.with_label_values(&[name]),
            wait: self.wait.with_label_values(&[name]),
        }
    }
}

impl SellingBatches for BatchMetrics {
    fn totals(&self) -> BatchTotals {
        SELLING.into_iter().map(|queue| self.of_queue(queue)).fold(
            BatchTotals::default(),
            |sum, queue| BatchTotals {
                requests: sum.requests + queue.requests,
                batches: sum.batches + queue.batches,
            },
        )
    }
}
