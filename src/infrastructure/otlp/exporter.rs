//! The task that sends spans, in batches, and never makes a request wait.
//!
//! While the collector is away, one batch is tried again and the queue fills; what finds it full is dropped. The log has one line
//! when that begins and one when it is over; the metrics have the rest.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, InvalidCollector, NotTaken};
use super::metrics::SpanMetrics;
use super::queue::SpanQueue;
use crate::config::TelemetryConfig;
use crate::infrastructure::traces::{Sampling, install};

/// Spans of one export, at most.
const BATCH: usize = 512;
/// Spans gather for this time, so that a busy second costs few exchanges.
const GATHER: Duration = Duration::from_secs(1);
/// How often one batch is sent, at most.
const TRIES: u32 = 4;
/// Pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The last spans of a process have this time.
const LAST_EXPORT: Duration = Duration::from_secs(1);

/// Sends what is in the queue.
pub(crate) struct Exporter {
    collector: Collector,
    waiting: mpsc::Receiver<SpanData>,
    resource: ResourceAttributesWithSchema,
    metrics: SpanMetrics,
    is_failing: bool,
}

/// Begins to trace. Nothing is sent until [`Exporter::run`]. `None` if no collector is configured.
pub(crate) fn trace_to(
    config: &TelemetryConfig,
    instance: &str,
    registry: &prometheus::Registry,
) -> Result<Option<Exporter>, TraceError> {
    let Some(otlp) = &config.otlp else { return Ok(None) };
    let collector = Collector::new(otlp)?;
    let metrics = SpanMetrics::register(registry)?;
    let (queue, waiting) = SpanQueue::new(metrics.clone());
    let resource = Resource::builder_empty()
        .with_service_name(config.service_name.clone())
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ])
        .build();
    let encoded = ResourceAttributesWithSchema::from(&resource);
    // The head of each request has decided already.
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_span_processor(queue)
        .with_resource(resource)
        .build();
    install(provider.tracer("flash-sale"), Sampling::new(config.sample_ratio));
    Ok(Some(Exporter { collector, waiting, resource: encoded, metrics, is_failing: false }))
}

/// Tracing cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error(transparent)]
    Collector(#[from] InvalidCollector),
    #[error("cannot set up the metrics of traces: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Completes when the time after the stop is used up.
async fn after_stop(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_EXPORT).await;
}

impl Exporter {
    /// Sends until `stop`, and then what is left.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while stop.run_until_cancelled(self.waiting.recv_many(&mut batch, 1)).await.is_some() {
            let is_full = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    self.waiting.recv_many(&mut batch, room).await;
                }
            };
            let gathered = tokio::time::timeout(GATHER, is_full);
            let _ = stop.run_until_cancelled(gathered).await;
            let spans = std::mem::take(&mut batch);
            tokio::select! {
                () = self.send(spans) => {}
                () = after_stop(&stop) => return,
            }
        }
        let _ = tokio::time::timeout(LAST_EXPORT, self.send_rest(batch)).await;
    }

    async fn send_rest(&mut self, mut batch: Vec<SpanData>) {
        self.waiting.close();
        loop {
            let room = BATCH - batch.len();
            let received = self.waiting.recv_many(&mut batch, room).await;
            if batch.is_empty() && received == 0 {
                return;
            }
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    async fn send(&mut self, spans: Vec<SpanData>) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        match self.try_to_send(&ExportTraceServiceRequest { resource_spans }).await {
            Ok(rejected) => {
                let rejected = rejected.min(count);
                self.metrics.exported.inc_by(count - rejected);
                self.metrics.refused.inc_by(rejected);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(_) => self.metrics.refused.inc_by(count),
        }
    }

    async fn try_to_send(&mut self, spans: &ExportTraceServiceRequest) -> Result<u64, NotTaken> {
        let (mut pause, mut tries) = (FIRST_PAUSE, 1);
        loop {
            match self.collector.send(spans).await {
                Ok(rejected) => return Ok(rejected),
                Err(why) => {
                    self.report(&why);
                    if tries == TRIES || matches!(why, NotTaken::AtAll(_)) {
                        return Err(why);
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }

    /// Logs the first failure.
    fn report(&mut self, why: &NotTaken) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(%why, "the collector takes no spans: those that it misses are counted");
        }
    }
}
