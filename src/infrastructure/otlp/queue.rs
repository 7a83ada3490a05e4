//! The spans that wait for their export. A span that finds the queue full is dropped and counted: no caller waits for it.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::metrics::SpanMetrics;

/// Spans that wait at most: a few megabytes.
pub(super) const QUEUE: usize = 4_096;

/// Queues spans when they end.
#[derive(Debug)]
pub(super) struct SpanQueue {
    ended: mpsc::Sender<SpanData>,
    metrics: SpanMetrics,
}

impl SpanQueue {
    pub(super) fn new(metrics: SpanMetrics) -> (Self, mpsc::Receiver<SpanData>) {
        let (ended, waiting) = mpsc::channel(QUEUE);
        (Self { ended, metrics }, waiting)
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        match self.ended.try_send(span) {
            // After the last export nothing is sent any more, which is not a loss that could be mended.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => self.metrics.queue_full.inc(),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
